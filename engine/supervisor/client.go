// Package supervisor is the client of the supervisor, the small process that holds containers: the real container.Runtime.
//
// It makes one connection a call and keeps nothing in between, so that it survives the supervisor's restart as the supervisor
// survives its. The server is engine/supervisor/server, linked into cmd/cuppa-helper alone; engine/helper starts it. Start with Client.
package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/supervisor/wire"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Client implements container.Runtime over a supervisor's socket.
type Client struct {
	socket string
	build  string
	revive func(context.Context) error
	down   atomic.Bool // Shutdown was called: nothing is revived
}

// New returns a client of the supervisor at the socket; build is the digest of the helper that this program carries, for Hello.
// It does not connect.
func New(socket, build string) *Client { return &Client{socket: socket, build: build} }

// ReviveBy sets how to start the supervisor again when it is found dead; the containers live on meanwhile, and the next supervisor takes
// them over. It must be set before the first call, and may be called from several goroutines at once.
func (c *Client) ReviveBy(revive func(context.Context) error) { c.revive = revive }

// dial connects, to a new supervisor if there is none.
func (c *Client) dial(ctx context.Context) (*net.UnixConn, error) {
	conn, err := c.connect()
	if err == nil || c.revive == nil || c.down.Load() {
		return conn, err
	}
	if rerr := c.revive(ctx); rerr != nil {
		return nil, errkind.New(errkind.Unavailable, "start supervisor again: %w", rerr)
	}
	return c.connect()
}

func (c *Client) connect() (*net.UnixConn, error) {
	addr, done, err := wire.Address(c.socket)
	if err != nil {
		return nil, errkind.New(errkind.Unavailable, "reach supervisor: %w", err)
	}
	defer done()
	conn, err := net.DialUnix("unix", nil, addr)
	if err != nil {
		return nil, errkind.New(errkind.Unavailable, "reach supervisor: %w", err)
	}
	return conn, nil
}

// call is a connection with its request sent. Close it.
type call struct {
	wire.Conn
	stop func() bool
}

func (c *call) close() {
	c.stop()
	c.Conn.Close()
}

// begin connects and sends a request.
func (c *Client) begin(ctx context.Context, op string, body any, fds ...int) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	// The end of ctx makes reads and writes return at once.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	k := &call{Conn: wire.Conn{UnixConn: conn}, stop: stop}
	req := wire.Request{Op: op}
	if body != nil {
		if req.Body, err = json.Marshal(body); err != nil {
			k.close()
			return nil, errkind.New(errkind.Invalid, "encode %s request: %w", op, err)
		}
	}
	if err := k.Send(req, fds...); err != nil {
		k.close()
		return nil, lost(ctx, err)
	}
	return k, nil
}

// reply reads one reply into body, which may be nil.
func (c *call) reply(ctx context.Context, body any) ([]*os.File, error) {
	var r wire.Reply
	files, err := c.Receive(&r)
	if err != nil {
		return nil, lost(ctx, err)
	}
	if r.Error != nil {
		wire.CloseAll(files)
		return nil, r.Error.Err()
	}
	if body != nil {
		if err := json.Unmarshal(r.Body, body); err != nil {
			wire.CloseAll(files)
			return nil, errkind.New(errkind.Internal, "decode reply: %w", err)
		}
	}
	return files, nil
}

// lost explains a failed read or write.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded // the deadline has passed, its timer is a moment late
	}
	return errkind.New(errkind.Unavailable, "connection to the supervisor is lost: %w", err)
}

// do is a call with one reply.
func (c *Client) do(ctx context.Context, op string, body, reply any) error {
	k, err := c.begin(ctx, op, body)
	if err != nil {
		return err
	}
	defer k.close()
	_, err = k.reply(ctx, reply)
	return err
}

// Hello asks the supervisor who it is.
func (c *Client) Hello(ctx context.Context) (wire.Hello, error) {
	var h wire.Hello
	err := c.do(ctx, wire.OpHello, wire.Hello{Protocol: wire.Protocol, Oldest: wire.Oldest, Build: c.build, Pid: os.Getpid()}, &h)
	if err == nil && (h.Oldest > wire.Protocol || h.Protocol < wire.Oldest) {
		err = errkind.New(errkind.Precondition, "the running supervisor (pid %d) speaks protocol %d and this program %d: "+
			"stop the containers with the program that started them", h.Pid, h.Protocol, wire.Protocol)
	}
	return h, err
}

// Shutdown ends the supervisor. Without force it is refused with errkind.Precondition while any container exists; with force all are
// killed and removed first, and nothing of them remains.
func (c *Client) Shutdown(ctx context.Context, force bool) error {
	c.down.Store(true)
	err := c.do(ctx, wire.OpShutdown, wire.Shutdown{Force: force}, nil)
	if err != nil {
		c.down.Store(false)
	}
	return err
}

// MakeNamespaces implements container.Runtime.
func (c *Client) MakeNamespaces(ctx context.Context, spec container.NamespaceSpec) (container.Namespaces, error) {
	var ns container.Namespaces
	err := c.do(ctx, wire.OpMakeNamespaces, spec, &ns)
	return ns, err
}

// RemoveNamespaces implements container.Runtime.
func (c *Client) RemoveNamespaces(ctx context.Context, id string) error {
	return c.do(ctx, wire.OpRemoveNamespaces, wire.ID{ID: id}, nil)
}

// Create implements container.Runtime.
func (c *Client) Create(ctx context.Context, spec container.Spec) error {
	return c.do(ctx, wire.OpCreate, spec, nil)
}

// Start implements container.Runtime.
func (c *Client) Start(ctx context.Context, id string) error {
	return c.do(ctx, wire.OpStart, wire.ID{ID: id}, nil)
}

// Signal implements container.Runtime.
func (c *Client) Signal(ctx context.Context, id string, signal int, all bool) error {
	return c.do(ctx, wire.OpSignal, wire.Signal{ID: id, Signal: signal, All: all}, nil)
}

// Pause implements container.Runtime.
func (c *Client) Pause(ctx context.Context, id string) error {
	return c.do(ctx, wire.OpPause, wire.ID{ID: id}, nil)
}

// Resume implements container.Runtime.
func (c *Client) Resume(ctx context.Context, id string) error {
	return c.do(ctx, wire.OpResume, wire.ID{ID: id}, nil)
}

// Update implements container.Runtime.
func (c *Client) Update(ctx context.Context, id string, resources *specs.LinuxResources) error {
	return c.do(ctx, wire.OpUpdate, wire.Update{ID: id, Resources: resources}, nil)
}

// Delete implements container.Runtime.
func (c *Client) Delete(ctx context.Context, id string, force bool) error {
	return c.do(ctx, wire.OpDelete, wire.Delete{ID: id, Force: force}, nil)
}

// Status implements container.Runtime.
func (c *Client) Status(ctx context.Context, id string) (container.Status, error) {
	var st container.Status
	err := c.do(ctx, wire.OpStatus, wire.ID{ID: id}, &st)
	return st, err
}

// List implements container.Runtime.
func (c *Client) List(ctx context.Context) ([]container.Status, error) {
	var all []container.Status
	err := c.do(ctx, wire.OpList, nil, &all)
	return all, err
}

// Stats implements container.Runtime.
func (c *Client) Stats(ctx context.Context, id string) (container.Stats, error) {
	var st container.Stats
	err := c.do(ctx, wire.OpStats, wire.ID{ID: id}, &st)
	return st, err
}

// Wait implements container.Runtime.
func (c *Client) Wait(ctx context.Context, id string) (container.Status, error) {
	var st container.Status
	err := c.do(ctx, wire.OpWait, wire.ID{ID: id}, &st)
	return st, err
}

// ReopenLog implements container.Runtime.
func (c *Client) ReopenLog(ctx context.Context, id string) error {
	return c.do(ctx, wire.OpReopenLog, wire.ID{ID: id}, nil)
}

// Events implements container.Runtime.
func (c *Client) Events(ctx context.Context, after uint64) (<-chan container.Event, error) {
	k, err := c.begin(ctx, wire.OpEvents, wire.Events{After: after})
	if err != nil {
		return nil, err
	}
	if _, err := k.reply(ctx, nil); err != nil { // the subscription stands
		k.close()
		return nil, err
	}
	out := make(chan container.Event)
	go func() {
		defer close(out)
		defer k.close()
		for {
			var e container.Event
			if _, err := k.reply(ctx, &e); err != nil {
				return
			}
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
