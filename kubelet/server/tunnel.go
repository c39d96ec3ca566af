package server

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
)

// wantsTunnel tells whether a client wants to speak SPDY inside a WebSocket.
func wantsTunnel(r *http.Request) bool {
	return websocket.IsWebSocketUpgrade(r) && slices.Contains(websocket.Subprotocols(r), portforward.WebsocketsSPDYTunnelingPortForwardV1)
}

// tunnel upgrades to WebSocket and lets serve believe that it took over a plain connection for SPDY.
func tunnel(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc) {
	conn, err := upgrade(w, r, []string{portforward.WebsocketsSPDYTunnelingPortForwardV1})
	if err != nil {
		return
	}
	defer conn.Close()
	inner := r.Clone(r.Context())
	for name := range inner.Header {
		if strings.HasPrefix(name, "Sec-Websocket-") {
			inner.Header.Del(name)
		}
	}
	inner.Header.Set("Connection", "Upgrade")
	inner.Header.Set("Upgrade", "SPDY/3.1")
	inner.Header.Set("X-Stream-Protocol-Version", portforward.PortForwardV1Name)
	serve(&hijacked{conn: &messageConn{Conn: conn}, header: http.Header{}}, inner)
}

// hijacked is the response of a request whose connection has been taken over already.
type hijacked struct {
	conn   net.Conn
	header http.Header
}

func (h *hijacked) Header() http.Header { return h.header }

func (h *hijacked) WriteHeader(int) {} // the client saw the WebSocket's answer

func (h *hijacked) Write(p []byte) (int, error) { return len(p), nil }

// Hijack implements http.Hijacker.
func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// messageConn is a byte stream made of binary messages.
type messageConn struct {
	*websocket.Conn
	current io.Reader
	mu      sync.Mutex
}

func (m *messageConn) Read(p []byte) (int, error) {
	for {
		if m.current == nil {
			_, reader, err := m.NextReader()
			if err != nil {
				var closed *websocket.CloseError
				if errors.As(err, &closed) {
					return 0, io.EOF
				}
				return 0, err
			}
			m.current = reader
		}
		n, err := m.current.Read(p)
		if err == io.EOF {
			m.current, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

func (m *messageConn) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetDeadline implements net.Conn.
func (m *messageConn) SetDeadline(t time.Time) error {
	return errors.Join(m.SetReadDeadline(t), m.SetWriteDeadline(t))
}
