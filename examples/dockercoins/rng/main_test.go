package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func get(t *testing.T, url string) (int, string, http.Header) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestRNG(t *testing.T) {
	server := httptest.NewServer(handler(0))
	defer server.Close()
	if code, body, _ := get(t, server.URL+"/"); code != 200 || !strings.HasPrefix(body, "RNG running on ") {
		t.Errorf("GET /: got %d %q", code, body)
	}
	code, body, header := get(t, server.URL+"/32")
	if code != 200 || len(body) != 32 || header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("GET /32: got %d, %d bytes, %q", code, len(body), header.Get("Content-Type"))
	}
	if _, other, _ := get(t, server.URL+"/32"); other == body {
		t.Error("two answers are equal")
	}
	for _, bad := range []string{"/x", "/-1", "/99999999999"} {
		if code, _, _ := get(t, server.URL+bad); code != 400 {
			t.Errorf("GET %s: got %d, want 400", bad, code)
		}
	}
}

func TestOneRequestAtATime(t *testing.T) {
	const delay = 20 * time.Millisecond
	server := httptest.NewServer(handler(delay))
	defer server.Close()
	start := time.Now()
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { get(t, server.URL+"/1") })
	}
	wg.Wait()
	if took := time.Since(start); took < 5*delay {
		t.Errorf("five requests took %s, want at least %s: they ran side by side", took, 5*delay)
	}
}
