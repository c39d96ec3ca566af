package build

import (
	"context"
	"net"
	"sync"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// handover is a net.Listener whose connections come from elsewhere in this process.
type handover struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (h *handover) give(ctx context.Context, conn net.Conn) error {
	select {
	case h.conns <- conn:
		return nil
	case <-h.done:
		return errkind.New(errkind.Unavailable, "the builder is stopping")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return &net.UnixAddr{Name: "build", Net: "unix"} }

// closing tells when a connection was closed.
type closing struct {
	net.Conn
	ended chan struct{}
	once  sync.Once
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.Conn.Close()
}
