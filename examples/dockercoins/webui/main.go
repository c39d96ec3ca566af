// Command webui is DockerCoins' page: the files of a folder, and the wallet's counters as JSON.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	db := redis.NewClient(&redis.Options{Addr: "redis:6379", DisableIdentity: true})
	log.Fatal(http.ListenAndServe(":80", handler("/files", counters{db}, time.Now)))
}

// source is where the counters come from.
type source interface {
	read(context.Context) (coins, hashes int64, err error)
}

// answer is what /json sends.
type answer struct {
	Coins  int64   `json:"coins"`
	Hashes int64   `json:"hashes"`
	Now    float64 `json:"now"` // seconds since 1970
}

func handler(files string, from source, now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(files)))
	mux.HandleFunc("GET /json", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		coins, hashes, err := from.read(ctx)
		if err != nil {
			http.Error(w, "read counters: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(w).Encode(answer{coins, hashes, float64(now().UnixMilli()) / 1000})
	})
	return mux
}

type counters struct{ db *redis.Client }

func (c counters) read(ctx context.Context) (coins, hashes int64, err error) {
	coins, err = c.db.HLen(ctx, "wallet").Result()
	if err != nil {
		return 0, 0, err
	}
	hashes, err = c.db.Get(ctx, "hashes").Int64()
	if err == redis.Nil {
		err = nil
	}
	return coins, hashes, err
}
