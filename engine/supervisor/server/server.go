//go:build cgo

// Package server is the supervisor: parent of all containers, owner of their pipes, terminals, log files and exit records.
//
// It is linked into cmd/cuppa-helper alone, because libcontainer needs cgo and because starting a container executes this program
// again, which must be small. It decides nothing by itself but to record what happened. Start with Server, then container.go.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	loader "github.com/opencontainers/runc/libcontainer/seccomp"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/copyup"
	"github.com/cuppa-project/cuppa/engine/supervisor/wire"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Config says where a supervisor works.
type Config struct {
	RunDir   string // socket, namespaces, root mounts, pipes; lost at reboot
	StateDir string // specifications and exit records
	Build    string // digest of this program
	Log      *slog.Logger
	// Reached is told of each step of a container's start; tests end the program there. Nil: nobody is.
	Reached func(step string)
}

// Socket is where a supervisor with this RunDir listens.
func Socket(runDir string) string { return filepath.Join(runDir, "supervisor.sock") }

// Server is a supervisor.
type Server struct {
	cfg        Config
	log        *slog.Logger
	operations map[string]operation
	events     *eventLog
	buffers    sync.Pool
	rights     rights
	stop       context.CancelFunc
	warm       *warmer
	starts     chan struct{} // holds a token for each start in progress
	filler     copyup.Filler

	mu         sync.Mutex
	containers map[string]*ctr
	namespaces map[string]*group
	parents    map[string]bool // cgroups above those of containers and pods
	said       map[string]bool // what has been logged already
	closing    bool
}

// New returns a supervisor that has done nothing yet.
func New(cfg Config) (*Server, error) {
	if cfg.RunDir == "" || cfg.StateDir == "" {
		return nil, errkind.New(errkind.Invalid, "supervisor needs a run folder and a state folder")
	}
	if major, _, _ := loader.Version(); !loader.Enabled || major != 0 {
		// Libcontainer's own loader would take our compiled filters for ones that allow everything.
		return nil, errkind.New(errkind.Internal, "this helper was built without its seccomp loader: build with cmd/cuppa-helper/build.sh")
	}
	s := &Server{cfg: cfg, log: cfg.Log, events: newEventLog(), rights: probeRights(), warm: newWarmer(), starts: make(chan struct{}, 2*runtime.NumCPU()),
		containers: map[string]*ctr{}, namespaces: map[string]*group{}, parents: map[string]bool{}, said: map[string]bool{}}
	s.buffers.New = func() any { b := make([]byte, 32<<10); return &b }
	s.operations = s.table()
	return s, nil
}

// Run takes over the containers that an earlier supervisor has left, calls ready, and serves until ctx ends or a client asks for the
// end. Containers that exist then live on.
func (s *Server) Run(ctx context.Context, ready func()) error {
	ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	for _, dir := range []string{s.cfg.RunDir, s.cfg.StateDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	lock, err := s.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	if !s.rights.sysResource {
		s.log.Info("limits are clamped to our own", "reason", "no CAP_SYS_RESOURCE", "oom_score_adj", s.rights.oomScoreAdj)
	}
	s.rights.protect()
	if err := s.adopt(ctx); err != nil {
		return err
	}
	listener, err := s.listen()
	if err != nil {
		return err
	}
	defer listener.Close()
	stopListening := context.AfterFunc(ctx, func() { listener.Close() })
	defer stopListening()
	ready()
	var calls sync.WaitGroup
	for {
		conn, err := listener.AcceptUnix()
		if err != nil {
			s.stop()
			calls.Wait()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		calls.Go(func() { s.serve(ctx, wire.Conn{UnixConn: conn}) })
	}
}

// lock makes sure that no second supervisor works in the same folder.
func (s *Server) lock() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.cfg.RunDir, "supervisor.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, errkind.New(errkind.Exists, "another supervisor holds %s: %w", s.cfg.RunDir, err)
	}
	return f, nil
}

func (s *Server) listen() (*net.UnixListener, error) {
	path := Socket(s.cfg.RunDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	addr, done, err := wire.Address(path)
	if err != nil {
		return nil, err
	}
	defer done()
	listener, err := net.ListenUnix("unix", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	listener.SetUnlinkOnClose(false) // its name may be one through a descriptor; shutdown removes the file
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("protect socket: %w", err)
	}
	return listener, nil
}

// request is a call being served.
type request struct {
	conn  wire.Conn
	body  json.RawMessage
	files []*os.File
}

// decode reads the request's body.
func (r *request) decode(v any) error {
	if err := json.Unmarshal(r.body, v); err != nil {
		return errkind.New(errkind.Invalid, "decode request: %w", err)
	}
	return nil
}

// say sends a reply frame that is not the last.
func (r *request) say(body any, fds ...int) error {
	return r.conn.Send(wire.Reply{Body: wire.Body(body)}, fds...)
}

// operation serves one kind of call and returns the body of the last reply.
type operation func(ctx context.Context, r *request) (any, error)

// table is everything that a client can ask for.
func (s *Server) table() map[string]operation {
	return map[string]operation{
		wire.OpHello:            simple(s.hello),
		wire.OpShutdown:         simple(s.shutdown),
		wire.OpMakeNamespaces:   simple(s.makeNamespaces),
		wire.OpRemoveNamespaces: simple(s.removeNamespaces),
		wire.OpCreate:           simple(s.create),
		wire.OpStart:            simple(s.start),
		wire.OpSignal:           simple(s.signal),
		wire.OpPause:            simple(s.pause),
		wire.OpResume:           simple(s.resume),
		wire.OpUpdate:           simple(s.update),
		wire.OpDelete:           simple(s.delete),
		wire.OpStatus:           simple(s.status),
		wire.OpList:             s.list,
		wire.OpStats:            simple(s.stats),
		wire.OpWait:             s.wait,
		wire.OpReopenLog:        simple(s.reopenLog),
		wire.OpExec:             s.exec,
		wire.OpAttach:           s.attach,
		wire.OpEvents:           s.streamEvents,
	}
}

// simple makes an operation of a function from one body to another. It runs to its end even if the client leaves.
func simple[In any](f func(context.Context, In) (any, error)) operation {
	return func(ctx context.Context, r *request) (any, error) {
		var in In
		if err := r.decode(&in); err != nil {
			return nil, err
		}
		return f(ctx, in)
	}
}

func (s *Server) serve(ctx context.Context, conn wire.Conn) {
	defer conn.Close()
	end := context.AfterFunc(ctx, func() { conn.CloseRead() })
	defer end()
	var req wire.Request
	files, err := conn.Receive(&req)
	if err != nil {
		return
	}
	defer wire.CloseAll(files)
	op, ok := s.operations[req.Op]
	if !ok {
		conn.Send(wire.Reply{Error: wire.ErrorOf(errkind.New(errkind.Invalid, "supervisor does not know operation %q", req.Op))})
		return
	}
	body, err := op(ctx, &request{conn: conn, body: req.Body, files: files})
	if err != nil {
		conn.Send(wire.Reply{Error: wire.ErrorOf(err)})
		return
	}
	conn.Send(wire.Reply{Body: wire.Body(body)})
}

// untilGone returns a context that ends when the client closes its side.
func (r *request) untilGone(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		var b [1]byte
		r.conn.Read(b[:])
		cancel()
	}()
	return ctx, func() {
		cancel()
		r.conn.CloseRead()
	}
}

func (s *Server) hello(_ context.Context, peer wire.Hello) (any, error) {
	s.mu.Lock()
	n := len(s.containers)
	s.mu.Unlock()
	if peer.Build != s.cfg.Build {
		s.log.Info("client of another build", "build", peer.Build, "pid", peer.Pid)
	}
	return wire.Hello{Protocol: wire.Protocol, Oldest: wire.Oldest, Build: s.cfg.Build, Pid: os.Getpid(), Containers: n}, nil
}

// shutdown removes everything and ends the supervisor.
func (s *Server) shutdown(ctx context.Context, in wire.Shutdown) (any, error) {
	s.mu.Lock()
	if !in.Force && len(s.containers)+len(s.namespaces) > 0 {
		defer s.mu.Unlock()
		return nil, errkind.New(errkind.Precondition, "supervisor still holds %d containers and the namespaces of %d pods",
			len(s.containers), len(s.namespaces))
	}
	s.closing = true
	ids, groups := keys(s.containers), keys(s.namespaces)
	s.mu.Unlock()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for _, id := range ids {
		wg.Go(func() {
			if _, err := s.delete(ctx, wire.Delete{ID: id, Force: true}); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, id := range groups {
		if _, err := s.removeNamespaces(ctx, wire.ID{ID: id}); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		s.mu.Lock()
		s.closing = false
		s.mu.Unlock()
		return nil, fmt.Errorf("shut down: %w", err)
	}
	s.removeParents()
	for _, name := range []string{"supervisor.sock", "supervisor.lock", "reap"} {
		os.Remove(filepath.Join(s.cfg.RunDir, name))
	}
	for _, name := range []string{"containers", "rootfs", "runc", "ns"} {
		os.Remove(filepath.Join(s.cfg.RunDir, name)) // empty by now
	}
	s.log.Info("supervisor ends", "reason", "asked to")
	s.stop()
	return nil, nil
}

func keys[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}

// find returns a container.
func (s *Server) find(id string) (*ctr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.containers[id]
	if !ok {
		return nil, errkind.New(errkind.NotFound, "container %q does not exist", id)
	}
	return c, nil
}

func (s *Server) status(_ context.Context, in wire.ID) (any, error) {
	c, err := s.find(in.ID)
	if err != nil {
		return nil, err
	}
	return c.snapshot(), nil
}

func (s *Server) list(context.Context, *request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]container.Status, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c.snapshot())
	}
	return all, nil
}

func (s *Server) wait(ctx context.Context, r *request) (any, error) {
	var in wire.ID
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := s.find(in.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.untilGone(ctx)
	defer cancel()
	select {
	case <-c.exited:
		return c.snapshot(), nil
	case <-ctx.Done():
		return nil, errkind.New(errkind.Unavailable, "wait: %w", ctx.Err())
	}
}
