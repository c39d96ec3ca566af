package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

type fixed struct {
	coins, hashes int64
	err           error
}

func (f fixed) read(context.Context) (int64, int64, error) { return f.coins, f.hashes, f.err }

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestWebUI(t *testing.T) {
	now := func() time.Time { return time.UnixMilli(1500) }
	h := handler("files", fixed{coins: 3, hashes: 40}, now)
	if code, body := get(t, h, "/json"); code != 200 || body != `{"coins":3,"hashes":40,"now":1.5}`+"\n" {
		t.Errorf("GET /json: got %d %s", code, body)
	}
	code, page := get(t, h, "/")
	if code != 200 || !strings.Contains(page, "DockerCoins") {
		t.Errorf("GET /: got %d and no DockerCoins page", code)
	}
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") {
		t.Error("the page loads something from elsewhere")
	}
	if code, _ := get(t, h, "/graph.js"); code != 200 {
		t.Errorf("GET /graph.js: got %d", code)
	}
	if code, _ := get(t, handler("files", fixed{err: errors.New("no redis")}, now), "/json"); code != 503 {
		t.Errorf("GET /json without redis: got %d, want 503", code)
	}
}
