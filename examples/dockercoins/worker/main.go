// Command worker is DockerCoins' miner: it fetches random bytes, has them hashed, and keeps the hashes that begin with a zero.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	m := miner{
		rng:    "http://rng/32",
		hasher: "http://hasher/",
		http:   &http.Client{Timeout: 30 * time.Second},
		redis:  redis.NewClient(&redis.Options{Addr: "redis:6379", DisableIdentity: true}),
		pause:  100 * time.Millisecond,
	}
	for {
		err := m.mine(context.Background())
		log.Printf("In work loop: %v", err)
		log.Print("Waiting 10s and restarting.")
		time.Sleep(10 * time.Second)
	}
}

type miner struct {
	rng, hasher string
	http        *http.Client
	redis       *redis.Client
	pause       time.Duration
}

// mine works until something fails.
func (m *miner) mine(ctx context.Context) error {
	units, reported := 0, time.Time{}
	for {
		if time.Since(reported) >= time.Second {
			log.Printf("%d units of work done, updating hash counter", units)
			if err := m.redis.IncrBy(ctx, "hashes", int64(units)).Err(); err != nil {
				return fmt.Errorf("update hash counter: %w", err)
			}
			units, reported = 0, time.Now()
		}
		if err := m.once(ctx); err != nil {
			return err
		}
		units++
	}
}

// once does one unit of work.
func (m *miner) once(ctx context.Context) error {
	time.Sleep(m.pause)
	random, err := m.do(ctx, http.MethodGet, m.rng, nil)
	if err != nil {
		return fmt.Errorf("get random bytes: %w", err)
	}
	hash, err := m.do(ctx, http.MethodPost, m.hasher, random)
	if err != nil {
		return fmt.Errorf("hash bytes: %w", err)
	}
	if len(hash) == 0 || hash[0] != '0' {
		return nil
	}
	short := hash[:min(8, len(hash))]
	log.Printf("Coin found: %s...", short)
	if err := m.redis.HSet(ctx, "wallet", string(hash), string(random)).Err(); err != nil {
		return fmt.Errorf("store coin: %w", err)
	}
	return nil
}

func (m *miner) do(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	return data, nil
}
