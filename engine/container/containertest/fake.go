// Package containertest holds the suite that every container.Runtime passes, and Fake, a Runtime in memory that keeps its rules.
//
// The fake runs no kernel process: a container's program is a Go function, found by the name of its first argument. It writes
// real log files, so that what reads them can be tested without root. Start with Run for a runtime's own test, with NewFake to
// test what uses one.
package containertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/logs"
	"github.com/cuppa-project/cuppa/internal/crilog"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Program is what a fake process does; it returns the exit code. It must return soon after ctx ends (KILL).
type Program func(ctx context.Context, p *Proc) int

// Proc is a fake process as its program sees it.
type Proc struct {
	Container      string
	Args, Env      []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Signals        <-chan int // all but KILL
}

// Fake is a Runtime in memory.
type Fake struct {
	programs map[string]Program

	mu         sync.Mutex
	containers map[string]*fakeContainer
	namespaces map[string]container.Namespaces
	events     []container.Event
	changed    chan struct{} // closed and replaced at each event
	seq        uint64
	pid        int
	running    sync.WaitGroup
}

type fakeContainer struct {
	status    container.Status
	spec      container.Spec
	resources *specs.LinuxResources
	kill      context.CancelFunc
	signals   chan int
	stdin     *queue
	sinksMu   sync.Mutex
	sinks     map[*sink]bool
	log       *logs.Writer
	exited    chan struct{}
	oom       bool
}

// sink is an attached client.
type sink struct{ stdout, stderr io.Writer }

// NewFake returns a fake that knows the programs given and those of Programs. Call Close at the end of the test.
func NewFake(programs map[string]Program) *Fake {
	all := Programs()
	maps.Copy(all, programs)
	return &Fake{programs: all, containers: map[string]*fakeContainer{}, namespaces: map[string]container.Namespaces{},
		changed: make(chan struct{})}
}

// Close kills every container and waits for the end of all programs.
func (f *Fake) Close() {
	f.mu.Lock()
	for _, c := range f.containers {
		if c.kill != nil {
			c.kill()
		}
	}
	f.mu.Unlock()
	f.running.Wait()
}

// String prints every container with its state, one a line, by ID.
func (f *Fake) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(f.containers)) {
		c := f.containers[id]
		fmt.Fprintf(&b, "%s %s", id, c.status.State)
		if c.status.State == container.Exited {
			fmt.Fprintf(&b, " %d", c.status.ExitCode)
		}
		fmt.Fprintf(&b, " %s\n", strings.Join(c.spec.OCI.Process.Args, " "))
	}
	return b.String()
}

// Spec returns the specification a container was made with.
func (f *Fake) Spec(id string) (container.Spec, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[id]
	if !ok {
		return container.Spec{}, false
	}
	return c.spec, true
}

// Resources returns the limits last given to Update, or nil.
func (f *Fake) Resources(id string) *specs.LinuxResources {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := f.containers[id]; ok {
		return c.resources
	}
	return nil
}

// OOM acts as the kernel does when the container is out of memory: its process is killed, and reported as such.
func (f *Fake) OOM(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, ok := f.containers[id]; ok && c.kill != nil {
		c.oom, c.status.OOMKilled = true, true
		f.publish(c, container.EventOOM)
		c.kill()
	}
}

func (f *Fake) find(id string) (*fakeContainer, error) {
	c, ok := f.containers[id]
	if !ok {
		return nil, errkind.New(errkind.NotFound, "container %q does not exist", id)
	}
	return c, nil
}

// publish records an event; the caller holds the lock.
func (f *Fake) publish(c *fakeContainer, t container.EventType) {
	f.seq++
	f.events = append(f.events, container.Event{Seq: f.seq, Type: t, Time: time.Now(), Status: c.snapshot()})
	close(f.changed)
	f.changed = make(chan struct{})
}

func (c *fakeContainer) snapshot() container.Status {
	s := c.status
	s.Labels = maps.Clone(s.Labels)
	return s
}

// MakeNamespaces implements container.Runtime; the files it names do not exist.
func (f *Fake) MakeNamespaces(_ context.Context, spec container.NamespaceSpec) (container.Namespaces, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ns := container.Namespaces{}
	if spec.IPC {
		ns.IPC = "/fake/ns/" + spec.ID + "/ipc"
	}
	if spec.UTS {
		ns.UTS = "/fake/ns/" + spec.ID + "/uts"
	}
	if spec.ShmSize > 0 {
		ns.Shm = "/fake/ns/" + spec.ID + "/shm"
	}
	f.namespaces[spec.ID] = ns
	return ns, nil
}

// RemoveNamespaces implements container.Runtime.
func (f *Fake) RemoveNamespaces(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.namespaces, id)
	return nil
}

// Namespaces lists the IDs of the namespaces that exist.
func (f *Fake) Namespaces() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.namespaces))
}

// Create implements container.Runtime.
func (f *Fake) Create(_ context.Context, spec container.Spec) error {
	if spec.ID == "" || spec.OCI == nil || spec.OCI.Process == nil {
		return errkind.New(errkind.Invalid, "container needs an ID and a process")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.containers[spec.ID]; ok {
		return errkind.New(errkind.Exists, "container %q already exists", spec.ID)
	}
	c := &fakeContainer{
		spec:    spec,
		signals: make(chan int, 16),
		sinks:   map[*sink]bool{},
		exited:  make(chan struct{}),
		status: container.Status{ID: spec.ID, State: container.Created, CreatedAt: time.Now(),
			Labels: maps.Clone(spec.Labels), LogPath: spec.LogPath},
	}
	if spec.OpenStdin {
		c.stdin = newQueue()
	}
	if spec.LogPath != "" {
		w, err := logs.Open(logs.Config{Path: spec.LogPath, MaxSize: spec.LogSize, Keep: spec.LogKeep})
		if err != nil {
			return err
		}
		c.log = w
	}
	f.containers[spec.ID] = c
	f.publish(c, container.EventCreated)
	return nil
}

// Start implements container.Runtime.
func (f *Fake) Start(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return err
	}
	if c.status.State == container.Running || c.status.State == container.Paused {
		return nil
	}
	if err := c.status.State.Move(container.Running); err != nil {
		return err
	}
	args := c.spec.OCI.Process.Args
	if c.spec.Init && len(args) == 0 {
		args = []string{"pause"}
	}
	program, err := f.program(args)
	if err != nil {
		c.status.Error, c.status.ExitCode = err.Error(), 128
		c.finish()
		f.publish(c, container.EventExited)
		return err
	}
	ctx, kill := context.WithCancel(context.Background())
	f.pid++
	c.kill, c.status.State, c.status.Pid, c.status.StartedAt = kill, container.Running, f.pid, time.Now()
	f.publish(c, container.EventStarted)
	p := &Proc{Container: id, Args: args, Env: c.spec.OCI.Process.Env, Signals: c.signals, Stdin: bytes.NewReader(nil),
		Stdout: output{c, crilog.Stdout}, Stderr: output{c, crilog.Stderr}}
	if c.stdin != nil {
		p.Stdin = c.stdin
	}
	f.running.Go(func() {
		code := program(ctx, p)
		killed := ctx.Err() != nil
		kill()
		f.exited(c, code, killed)
	})
	return nil
}

func (f *Fake) program(args []string) (Program, error) {
	if len(args) == 0 {
		return nil, errkind.New(errkind.Invalid, "no command specified")
	}
	if program, ok := f.programs[args[0]]; ok {
		return program, nil
	}
	if strings.Contains(args[0], "/") {
		return nil, errkind.New(errkind.Invalid, "exec: %q: stat %s: no such file or directory", args[0], args[0])
	}
	return nil, errkind.New(errkind.Invalid, "exec: %q: executable file not found in $PATH", args[0])
}

func (f *Fake) exited(c *fakeContainer, code int, killed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if killed {
		code = 128 + 9
	}
	c.status.ExitCode = code
	c.finish()
	f.publish(c, container.EventExited)
}

// finish moves to Exited; the fake's lock is held.
func (c *fakeContainer) finish() {
	c.status.State, c.status.Pid, c.status.FinishedAt = container.Exited, 0, time.Now()
	c.kill = nil
	if c.log != nil {
		c.log.Close()
	}
	if c.stdin != nil {
		c.stdin.Close()
	}
	close(c.exited)
}

// output is a container's stdout or stderr.
type output struct {
	c *fakeContainer
	s crilog.Stream
}

func (o output) Write(data []byte) (int, error) {
	if o.c.log != nil {
		o.c.log.Write(o.s, data)
	}
	o.c.sinksMu.Lock()
	defer o.c.sinksMu.Unlock()
	for s := range o.c.sinks {
		w := s.stdout
		if o.s == crilog.Stderr && !o.c.spec.Terminal {
			w = s.stderr
		}
		if w != nil {
			w.Write(data)
		}
	}
	return len(data), nil
}
