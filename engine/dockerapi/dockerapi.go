// Package dockerapi is the engine's door in the shape of the Docker Engine API: images, volumes and builds over HTTP on a unix socket.
//
// It only translates. Containers and networks are not behind it: those are the cluster's, and reached through its own API. Start with
// routes in router.go; each verb is one short function.
package dockerapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cuppa-project/cuppa/engine/image"
	"github.com/cuppa-project/cuppa/engine/volume"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Builds is what the door needs of the builder.
type Builds interface {
	// Open says what stands in the way of building: a full disk, for instance.
	Open() error
	// ServeConn speaks BuildKit's control API on one connection until it ends.
	ServeConn(ctx context.Context, conn net.Conn) error
	// ServeSession takes over a request that opens a build session.
	ServeSession(ctx context.Context, w http.ResponseWriter, r *http.Request) error
	// Prune empties the build cache and returns the bytes freed.
	Prune(ctx context.Context, all bool) (int64, error)
}

// Config names the parts behind the door.
type Config struct {
	Socket  string // path of the unix socket, made with mode 0600
	Images  *image.Store
	Volumes *volume.Store
	Builds  Builds
	Version string // of this program
	DataDir string // shown by info
	Driver  string // of the layer store, shown by info
	Logger  *slog.Logger
}

// Server is the door.
type Server struct {
	cfg    Config
	log    *slog.Logger
	routes []route
}

// New returns a door that is still closed.
func New(cfg Config) (*Server, error) {
	if cfg.Images == nil || cfg.Volumes == nil || cfg.Builds == nil {
		return nil, errkind.New(errkind.Invalid, "make docker door: a part is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Server{cfg: cfg, log: cfg.Logger}
	s.routes = s.table()
	return s, nil
}

// Run serves on the socket until ctx ends, then lets running requests end for a moment. A socket that an earlier life left is replaced.
func (s *Server) Run(ctx context.Context) error {
	l, err := listen(s.cfg.Socket)
	if err != nil {
		return errkind.New(errkind.Unavailable, "listen on %s: %w", s.cfg.Socket, err)
	}
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
		<-done
		err = ctx.Err()
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listen makes the socket so that at no moment anybody but root may connect.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, errors.New("another process serves it")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// A socket's mode comes from the umask, which belongs to the whole process: so it is made inside a private folder and moved.
	private, err := os.MkdirTemp(filepath.Dir(path), ".socket")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(private, "s"), Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(filepath.Join(private, "s"), 0o600); err == nil {
		err = os.Rename(filepath.Join(private, "s"), path)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return &unlinking{Listener: l, path: path}, nil
}

// unlinking removes the socket when the door closes.
type unlinking struct {
	net.Listener
	path string
}

func (u *unlinking) Close() error {
	os.Remove(u.path)
	return u.Listener.Close()
}
