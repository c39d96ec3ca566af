package containertest

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Signal implements container.Runtime.
func (f *Fake) Signal(_ context.Context, id string, signal int, _ bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return err
	}
	if c.kill == nil {
		return errkind.New(errkind.NotFound, "container %q is not running", id)
	}
	if signal == 9 {
		c.kill()
		return nil
	}
	select {
	case c.signals <- signal:
	default: // nobody reads them: a program that ignores signals
	}
	return nil
}

// Pause implements container.Runtime. The program itself goes on.
func (f *Fake) Pause(_ context.Context, id string) error { return f.move(id, container.Paused) }

// Resume implements container.Runtime.
func (f *Fake) Resume(_ context.Context, id string) error { return f.move(id, container.Running) }

func (f *Fake) move(id string, to container.State) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return err
	}
	if c.status.State == to {
		return nil
	}
	if c.status.State == container.Created {
		return errkind.New(errkind.Precondition, "container %q is not running", id)
	}
	if err := c.status.State.Move(to); err != nil {
		return err
	}
	c.status.State = to
	return nil
}

// Update implements container.Runtime.
func (f *Fake) Update(_ context.Context, id string, resources *specs.LinuxResources) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return err
	}
	c.resources = resources
	return nil
}

// Delete implements container.Runtime.
func (f *Fake) Delete(ctx context.Context, id string, force bool) error {
	f.mu.Lock()
	c, err := f.find(id)
	if err != nil {
		f.mu.Unlock()
		return nil
	}
	if c.kill != nil {
		if !force {
			f.mu.Unlock()
			return errkind.New(errkind.Precondition, "container %q is running", id)
		}
		c.kill()
		f.mu.Unlock()
		select {
		case <-c.exited:
		case <-ctx.Done():
			return ctx.Err()
		}
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	if f.containers[id] != c {
		return nil
	}
	if c.log != nil {
		c.log.Close()
	}
	delete(f.containers, id)
	f.publish(c, container.EventDeleted)
	return nil
}

// Status implements container.Runtime.
func (f *Fake) Status(_ context.Context, id string) (container.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return container.Status{}, err
	}
	return c.snapshot(), nil
}

// List implements container.Runtime.
func (f *Fake) List(context.Context) ([]container.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []container.Status
	for _, id := range slices.Sorted(maps.Keys(f.containers)) {
		all = append(all, f.containers[id].snapshot())
	}
	return all, nil
}

// Stats implements container.Runtime with made-up figures: one millisecond of CPU per millisecond of life, and one MiB.
func (f *Fake) Stats(_ context.Context, id string) (container.Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return container.Stats{}, err
	}
	if c.kill == nil {
		return container.Stats{}, errkind.New(errkind.Precondition, "container %q is not running", id)
	}
	return container.Stats{Time: time.Now(), CPUUsage: time.Since(c.status.StartedAt), MemoryUsage: 1 << 20,
		MemoryWorkingSet: 1 << 20, MemoryRSS: 1 << 19, Pids: 1}, nil
}

// Wait implements container.Runtime.
func (f *Fake) Wait(ctx context.Context, id string) (container.Status, error) {
	f.mu.Lock()
	c, err := f.find(id)
	f.mu.Unlock()
	if err != nil {
		return container.Status{}, err
	}
	select {
	case <-c.exited:
	case <-ctx.Done():
		return container.Status{}, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return c.snapshot(), nil
}

// Exec implements container.Runtime.
func (f *Fake) Exec(ctx context.Context, id string, p container.Process, s container.Streams) (int, error) {
	f.mu.Lock()
	c, err := f.find(id)
	if err == nil && c.kill == nil {
		err = errkind.New(errkind.Precondition, "container %q is not running", id)
	}
	var program Program
	if err == nil {
		program, err = f.program(p.Args)
	}
	f.mu.Unlock()
	if err != nil {
		return 0, err
	}
	proc := &Proc{Container: id, Args: p.Args, Env: p.Env, Stdin: bytes.NewReader(nil), Stdout: io.Discard, Stderr: io.Discard,
		Signals: make(chan int)}
	if proc.Env == nil {
		proc.Env = c.spec.OCI.Process.Env
	}
	if s.Stdin != nil {
		proc.Stdin = s.Stdin
	}
	if s.Stdout != nil {
		proc.Stdout = s.Stdout
	}
	if s.Stderr != nil && !p.Terminal {
		proc.Stderr = s.Stderr
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the container's end is the end of its processes
		select {
		case <-c.exited:
			cancel()
		case <-inner.Done():
		}
	}()
	code := program(inner, proc)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if inner.Err() != nil {
		return 128 + 9, nil
	}
	return code, nil
}

// Attach implements container.Runtime.
func (f *Fake) Attach(ctx context.Context, id string, s container.Streams) error {
	f.mu.Lock()
	c, err := f.find(id)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	mine := &sink{stdout: s.Stdout, stderr: s.Stderr}
	c.sinksMu.Lock()
	c.sinks[mine] = true
	c.sinksMu.Unlock()
	if s.Attached != nil {
		s.Attached()
	}
	if s.Stdin != nil && c.stdin != nil {
		go func() {
			io.Copy(c.stdin, s.Stdin)
			if c.spec.StdinOnce {
				c.stdin.Close()
			}
		}()
	}
	select {
	case <-c.exited:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.sinksMu.Lock()
	delete(c.sinks, mine)
	c.sinksMu.Unlock()
	return err
}

// ReopenLog implements container.Runtime.
func (f *Fake) ReopenLog(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.find(id)
	if err != nil {
		return err
	}
	if c.kill == nil || c.log == nil {
		return errkind.New(errkind.Precondition, "container %q writes no log", id)
	}
	return c.log.Reopen()
}

// Events implements container.Runtime.
func (f *Fake) Events(ctx context.Context, after uint64) (<-chan container.Event, error) {
	out := make(chan container.Event)
	f.mu.Lock()
	var first []container.Event
	if after == 0 {
		for _, id := range slices.Sorted(maps.Keys(f.containers)) {
			first = append(first, standing(f.containers[id].snapshot(), f.seq))
		}
		after = f.seq
	}
	f.mu.Unlock()
	f.running.Go(func() {
		defer close(out)
		for {
			for _, e := range first {
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			}
			f.mu.Lock()
			first = nil
			for _, e := range f.events {
				if e.Seq > after {
					first = append(first, e)
					after = e.Seq
				}
			}
			changed := f.changed
			f.mu.Unlock()
			if len(first) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	})
	return out, nil
}

// standing is the synthetic event that tells how a container stands.
func standing(s container.Status, seq uint64) container.Event {
	e := container.Event{Seq: seq, Type: container.EventCreated, Time: s.CreatedAt, Status: s}
	switch s.State {
	case container.Running, container.Paused:
		e.Type, e.Time = container.EventStarted, s.StartedAt
	case container.Exited:
		e.Type, e.Time = container.EventExited, s.FinishedAt
	}
	return e
}

// queue is an unbounded pipe: writes never block, reads wait for data or the end.
type queue struct {
	mu     sync.Mutex
	data   bytes.Buffer
	closed bool
	wake   chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) Write(data []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, io.ErrClosedPipe
	}
	q.data.Write(data)
	q.notify()
	return len(data), nil
}

func (q *queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.notify()
	return nil
}

func (q *queue) notify() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) Read(buf []byte) (int, error) {
	for {
		q.mu.Lock()
		if q.data.Len() > 0 {
			defer q.mu.Unlock()
			return q.data.Read(buf)
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return 0, io.EOF
		}
		<-q.wake
	}
}
