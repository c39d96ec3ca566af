package dockerapi

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// buildControl turns the connection into one of BuildKit's control API (gRPC).
func (s *Server) buildControl(w http.ResponseWriter, r *http.Request, _ string) error {
	if err := s.cfg.Builds.Open(); err != nil {
		return err // while the connection can still carry an answer that says so
	}
	conn, err := takeOver(w, r, "h2c")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := s.cfg.Builds.ServeConn(r.Context(), conn); err != nil {
		s.log.Debug("build connection ended", "err", err)
	}
	return nil
}

// buildSession opens a build session on a connection of its own, as docker's clients do.
func (s *Server) buildSession(w http.ResponseWriter, r *http.Request, _ string) error {
	return s.cfg.Builds.ServeSession(r.Context(), w, r)
}

func (s *Server) buildPrune(w http.ResponseWriter, r *http.Request, _ string) error {
	freed, err := s.cfg.Builds.Prune(r.Context(), flag(r, "all"))
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]any{"CachesDeleted": []string{}, "SpaceReclaimed": freed})
	return nil
}

// takeOver answers an upgrade request and returns the bare connection.
func takeOver(w http.ResponseWriter, r *http.Request, protocol string) (net.Conn, error) {
	if r.Header.Get("Upgrade") != protocol {
		return nil, errkind.New(errkind.Invalid, "this address speaks %s: ask for an upgrade to it", protocol)
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, errkind.New(errkind.Internal, "take over connection: %w", err)
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n"); err != nil {
		conn.Close()
		return nil, errkind.New(errkind.Unavailable, "take over connection: %w", err)
	}
	return &buffered{Conn: conn, r: buf.Reader}, nil
}

// buffered gives back first what the HTTP server had read ahead.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) {
	if b.r.Buffered() > 0 {
		return b.r.Read(p[:min(len(p), b.r.Buffered())])
	}
	return b.Conn.Read(p)
}
