package socket_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cuppa-project/cuppa/cli/socket"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// serve answers on a socket of its own until the test ends.
func serve(t *testing.T, handler http.Handler) *socket.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return socket.New(path)
}

func TestAnswers(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /images/json", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `[{"Id":"sha256:1","RepoTags":["redis:latest"],"Size":5}]`)
	})
	mux.HandleFunc("DELETE /images/gone", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"message":"no such image: gone"}`)
	})
	mux.HandleFunc("DELETE /volumes/gone", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	mux.HandleFunc("POST /images/example.org/a:1/tag", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("repo") != "other:5000/b" || r.URL.Query().Get("tag") != "latest" {
			t.Errorf("tag: %s", r.URL.RawQuery)
		}
	})
	mux.HandleFunc("POST /images/create", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"status":"Downloading","id":"a","progressDetail":{"current":1,"total":2}}{"error":"no network"}`)
	})
	c, ctx := serve(t, mux), t.Context()
	if list, err := c.Images(ctx); err != nil || len(list) != 1 || list[0].ID != "sha256:1" {
		t.Errorf("images: %v %v", list, err)
	}
	if _, err := c.Remove(ctx, "gone", false); !errors.Is(err, errkind.NotFound) || err.Error() != "no such image: gone" {
		t.Errorf("remove: %v", err)
	}
	if err := c.RemoveVolume(ctx, "gone"); err != nil {
		t.Errorf("remove a volume that is not there: %v", err)
	}
	if err := c.Tag(ctx, "example.org/a:1", "other:5000/b"); err != nil {
		t.Errorf("tag: %v", err)
	}
	var seen []string
	err := c.Pull(ctx, "x", func(m socket.Message) { seen = append(seen, m.Status) })
	if err == nil || err.Error() != "no network" || len(seen) != 1 {
		t.Errorf("pull: %v, after %v", err, seen)
	}
}

func TestNobodyThere(t *testing.T) {
	_, err := socket.New(filepath.Join(t.TempDir(), "none")).Images(t.Context())
	if !errors.Is(err, errkind.Unavailable) || !strings.Contains(err.Error(), "cuppa server") {
		t.Errorf("got %v", err)
	}
}

// TestDialBuild sends data behind the answer's head, which must not be lost.
func TestDialBuild(t *testing.T) {
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "h2c" || r.URL.Path != "/grpc" {
			t.Errorf("asked for %s, upgrade to %q", r.URL.Path, r.Header.Get("Upgrade"))
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nat once")
	}))
	conn, err := c.DialBuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if data, err := io.ReadAll(conn); err != nil || string(data) != "at once" {
		t.Errorf("got %q, %v", data, err)
	}
}
