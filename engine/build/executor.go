package build

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// runner is BuildKit's executor: it runs each RUN step as a container of the engine's runtime.
type runner struct {
	dir     string
	runtime container.Runtime
	cgroup  string
	log     *slog.Logger

	stopping chan struct{} // closed when all steps must end
	steps    sync.WaitGroup

	mu      sync.Mutex
	running map[string]bool
}

// idPrefix marks the containers of builds among the others.
const idPrefix = "build-"

// newExecutor makes the executor.
func newExecutor(dir string, runtime container.Runtime, cgroup string, log *slog.Logger) (*runner, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	return &runner{dir: dir, runtime: runtime, cgroup: cgroup, log: log, stopping: make(chan struct{}), running: map[string]bool{}}, nil
}

// Run implements executor.Executor.
func (r *runner) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (_ resourcestypes.Recorder, err error) {
	if id == "" {
		id = identity.NewID()
	}
	if err := executor.ValidContainerID(id); err != nil {
		return nil, err
	}
	if !r.enter() {
		return nil, errkind.New(errkind.Unavailable, "the builder is stopping")
	}
	defer r.steps.Done()
	begun := sync.OnceFunc(func() {
		if started != nil {
			close(started)
		}
	})
	defer begun() // whoever waits for the start must not wait for ever
	step, err := r.prepare(ctx, id, root, mounts, process.Meta)
	if err != nil {
		return nil, err
	}
	defer step.cleanup()
	return nil, r.run(ctx, step, process, begun)
}

// run takes one prepared container from its creation to its end.
func (r *runner) run(ctx context.Context, step *step, process executor.ProcessInfo, begun func()) error {
	name := idPrefix + step.id
	unkillable := context.WithoutCancel(ctx)
	if err := r.runtime.Create(ctx, container.Spec{
		ID: name, OCI: step.spec, Terminal: process.Meta.Tty, OpenStdin: process.Stdin != nil, StdinOnce: true,
		RootFS: []container.Mount{{Type: "bind", Source: step.root, Options: []string{"rbind", "rw"}}},
	}); err != nil {
		return err
	}
	defer func() {
		if err := r.runtime.Delete(unkillable, name, true); err != nil {
			r.log.Error("container of a build step was not removed", "container", name, "err", err)
		}
	}()
	attached, detached := make(chan struct{}), make(chan error, 1)
	go func() {
		streams := streams(process)
		streams.Attached = sync.OnceFunc(func() { close(attached) })
		detached <- r.runtime.Attach(unkillable, name, streams)
	}()
	select {
	case <-attached:
	case err := <-detached:
		return errkind.New(errkind.Unavailable, "attach to build step: %v", err)
	}
	if err := r.runtime.Start(ctx, name); err != nil {
		_ = r.runtime.Delete(unkillable, name, true) // ends the attachment
		<-detached
		return &gatewayapi.ExitError{ExitCode: gatewayapi.UnknownExitStatus, Err: err}
	}
	r.mark(step.id, true)
	defer r.mark(step.id, false)
	begun()
	stop := context.AfterFunc(ctx, func() { _ = r.runtime.Signal(unkillable, name, int(syscall.SIGKILL), true) })
	defer stop()
	stopSignals := r.forward(unkillable, name, process.Signal)
	defer stopSignals()
	status, err := r.runtime.Wait(unkillable, name)
	if err != nil {
		_ = r.runtime.Delete(unkillable, name, true)
		<-detached
		return err
	}
	<-detached // all output has arrived
	return exitError(ctx, status, process.Meta.ValidExitCodes)
}

// Exec implements executor.Executor: a further process in a step that runs, for interactive clients.
func (r *runner) Exec(ctx context.Context, id string, process executor.ProcessInfo) error {
	r.mu.Lock()
	running := r.running[id]
	r.mu.Unlock()
	if !running {
		return errkind.New(errkind.NotFound, "build step %s does not run", id)
	}
	code, err := r.runtime.Exec(ctx, idPrefix+id, container.Process{
		Args: process.Meta.Args, Env: process.Meta.Env, Dir: process.Meta.Cwd, User: process.Meta.User, Terminal: process.Meta.Tty,
	}, streams(process))
	if err != nil {
		return err
	}
	return exitError(ctx, container.Status{ExitCode: code}, process.Meta.ValidExitCodes)
}

func (r *runner) mark(id string, running bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if running {
		r.running[id] = true
	} else {
		delete(r.running, id)
	}
}

// stop ends all steps and returns when nothing of them is left. It is called once.
func (r *runner) stop() {
	r.mu.Lock()
	close(r.stopping)
	r.mu.Unlock()
	r.steps.Wait()
}

// enter counts a step in, unless all must end.
func (r *runner) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.stopping:
		return false
	default:
		r.steps.Add(1)
		return true
	}
}

// forward passes a client's signals on until the returned function is called, and kills the step when the builder stops.
func (r *runner) forward(ctx context.Context, name string, signals <-chan syscall.Signal) (stop func()) {
	done := make(chan struct{})
	go func() {
		stopping := r.stopping
		for {
			select {
			case <-stopping:
				stopping = nil
				_ = r.runtime.Signal(ctx, name, int(syscall.SIGKILL), true)
			case sig, ok := <-signals:
				if !ok {
					signals = nil
					continue
				}
				_ = r.runtime.Signal(ctx, name, int(sig), false) // it may just have ended
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

func streams(p executor.ProcessInfo) container.Streams {
	s := container.Streams{}
	if p.Stdin != nil {
		s.Stdin = p.Stdin
	}
	if p.Stdout != nil {
		s.Stdout = p.Stdout
	}
	if p.Stderr != nil {
		s.Stderr = p.Stderr
	}
	if p.Resize != nil {
		sizes := make(chan container.Size)
		s.Resize = sizes
		go func() {
			defer close(sizes)
			for size := range p.Resize {
				sizes <- container.Size{Width: uint16(size.Cols), Height: uint16(size.Rows)}
			}
		}()
	}
	return s
}

// exitError turns how a process ended into the error that BuildKit expects, or nil.
func exitError(ctx context.Context, status container.Status, valid []int) error {
	if valid == nil {
		valid = []int{0}
	}
	if slices.Contains(valid, status.ExitCode) {
		return nil
	}
	exit := &gatewayapi.ExitError{ExitCode: uint32(status.ExitCode)}
	switch {
	case ctx.Err() != nil:
		exit.Err = fmt.Errorf("%w: %w", context.Cause(ctx), exit)
	case status.OOMKilled:
		exit.Err = fmt.Errorf("%w: the kernel killed it for lack of memory", syscall.ENOMEM)
	}
	return exit
}
