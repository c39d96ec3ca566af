package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestRefused holds that a unit of work names the service that failed.
func TestRefused(t *testing.T) {
	rng := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 32)) }))
	defer rng.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer broken.Close()
	m := miner{rng: rng.URL, hasher: broken.URL, http: http.DefaultClient, redis: redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})}
	err := m.once(context.Background())
	if err == nil || !strings.Contains(err.Error(), "hash bytes") || !strings.Contains(err.Error(), "500") {
		t.Errorf("hasher answers 500: got error %v", err)
	}
	m.rng = broken.URL
	if err := m.once(context.Background()); err == nil || !strings.Contains(err.Error(), "get random bytes") {
		t.Errorf("rng answers 500: got error %v", err)
	}
}
