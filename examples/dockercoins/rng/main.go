// Command rng is DockerCoins' source of randomness. It serves one request at a time, on purpose: it is the bottleneck that
// the tutorial finds.
package main

import (
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// maxBytes bounds one answer.
const maxBytes = 1 << 20

func main() {
	log.Fatal(http.ListenAndServe(":80", handler(100*time.Millisecond)))
}

func handler(delay time.Duration) http.Handler {
	var one sync.Mutex
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		name, _ := os.Hostname()
		fmt.Fprintf(w, "RNG running on %s\n", name)
	})
	mux.HandleFunc("GET /{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil || n < 0 || n > maxBytes {
			http.Error(w, fmt.Sprintf("want a number of bytes from 0 to %d", maxBytes), http.StatusBadRequest)
			return
		}
		one.Lock()
		defer one.Unlock()
		time.Sleep(delay)
		data := make([]byte, n)
		rand.Read(data)
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(data)
	})
	return mux
}
