// Package kubelettest is what tests of a node agent need around it: a container runtime and a cluster, both in memory.
//
// They are honest: they keep the rules of the interfaces they stand for, answer with the errors a real one would, and can be looked
// at. What containers do is scripted with Program. Nothing here starts a process or opens a socket. Start with Runtime and Cluster.
package kubelettest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Program is what a container does.
type Program struct {
	RunFor     time.Duration // how long it runs by itself; 0: until it is stopped
	ExitCode   int32
	Reason     string // such as OOMKilled; empty: Completed or Error
	LastWords  string // written to the termination message file
	IgnoreTerm bool   // only the kill ends it
	TermDelay  time.Duration
	TermCode   int32 // the exit code after the stop signal
	Output     []string
	StartError error
	// Exec answers commands; nil: every command succeeds silently.
	Exec func(cmd []string) (output string, code int)
}

// Runtime is a container runtime and image store in memory.
type Runtime struct {
	cri.RuntimeService // what is not implemented panics, and a test that needs it should say so
	mu                 sync.Mutex
	serial             int
	sandboxes          map[string]*sandbox
	containers         map[string]*container
	images             map[string]*runtimeapi.Image
	registry           map[string]bool
	programs           map[string]func(attempt uint32) Program
	subscribers        map[int]chan *runtimeapi.ContainerEventResponse
	log                []string
	nextIP             int
	pullDelay          time.Duration
	sandboxError       error
	onCall             func(int)
	terse              bool
}

// NewRuntime returns a runtime that has the named images.
func NewRuntime(images ...string) *Runtime {
	r := &Runtime{
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{}, images: map[string]*runtimeapi.Image{},
		registry: map[string]bool{}, programs: map[string]func(uint32) Program{},
		subscribers: map[int]chan *runtimeapi.ContainerEventResponse{},
	}
	for _, name := range images {
		r.addImage(name)
	}
	return r
}

// SlowPulls makes every pull take a while.
func (r *Runtime) SlowPulls(delay time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pullDelay = delay
}

// Terse makes the status of a sandbox say nothing of its containers, as older runtimes do.
func (r *Runtime) Terse() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.terse = true
}

// FailSandboxes makes every new sandbox fail; nil: none.
func (r *Runtime) FailSandboxes(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sandboxError = err
}

// Program scripts what containers of a name do.
func (r *Runtime) Program(container string, program func(attempt uint32) Program) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.programs[container] = program
}

// Log returns what was asked of the runtime, one line a call that changed something.
func (r *Runtime) Log() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log)
}

func (r *Runtime) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
	if r.onCall != nil {
		r.onCall(len(r.log))
	}
}

// OnCall has fn called with the number of every call that changes something, while it is made. It must not call back.
func (r *Runtime) OnCall(fn func(n int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onCall = fn
}

// ContainerConfig returns what a container was created from, the newest of that name, or nil.
func (r *Runtime) ContainerConfig(name string) *runtimeapi.ContainerConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	var newest *container
	for _, c := range r.containers {
		if c.config.Metadata.Name == name && (newest == nil || c.config.Metadata.Attempt > newest.config.Metadata.Attempt) {
			newest = c
		}
	}
	if newest == nil {
		return nil
	}
	return newest.config
}

// SandboxConfig returns what the sandbox of a pod was made from, or nil.
func (r *Runtime) SandboxConfig(pod string) *runtimeapi.PodSandboxConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sandboxes {
		if s.config.Metadata.Name == pod {
			return s.config
		}
	}
	return nil
}

// Kill ends the running container of a name from outside, with an exit code.
func (r *Runtime) Kill(name string, code int32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		if c.config.Metadata.Name == name && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			r.exit(c, code, "")
			return true
		}
	}
	return false
}

// BreakSandboxes makes every sandbox not ready and ends all containers, as a reboot does.
func (r *Runtime) BreakSandboxes() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, s := range r.sandboxes {
		r.stopSandbox(id, s)
	}
}

// Count returns how many sandboxes and containers there are.
func (r *Runtime) Count() (sandboxes, containers int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sandboxes), len(r.containers)
}

func (r *Runtime) id(kind string) string {
	r.serial++
	return fmt.Sprintf("%s-%d", kind, r.serial)
}

// Version implements cri.RuntimeService.
func (r *Runtime) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: "fake", RuntimeVersion: "1.0.0", RuntimeApiVersion: "v1"}, nil
}

// Status implements cri.RuntimeService.
func (r *Runtime) Status(context.Context, bool) (*runtimeapi.StatusResponse, error) {
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true}, {Type: runtimeapi.NetworkReady, Status: true},
	}}}, nil
}

// UpdateRuntimeConfig implements cri.RuntimeService.
func (r *Runtime) UpdateRuntimeConfig(context.Context, *runtimeapi.RuntimeConfig) error { return nil }

// Close implements cri.RuntimeService and cri.ImageManagerService.
func (r *Runtime) Close(context.Context) error { return nil }

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publish tells subscribers. r.mu is held.
func (r *Runtime) publish(sandboxID, containerID string, kind runtimeapi.ContainerEventType) {
	s, ok := r.sandboxes[sandboxID]
	if !ok {
		return
	}
	event := &runtimeapi.ContainerEventResponse{
		ContainerId: cmp.Or(containerID, sandboxID), ContainerEventType: kind, CreatedAt: time.Now().UnixNano(), PodSandboxStatus: proto.CloneOf(s.status),
	}
	for _, subscriber := range r.subscribers {
		subscriber <- event
	}
}

// GetContainerEvents implements cri.RuntimeService.
func (r *Runtime) GetContainerEvents(ctx context.Context, out chan *runtimeapi.ContainerEventResponse, connected func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	in := make(chan *runtimeapi.ContainerEventResponse, 10_000)
	r.mu.Lock()
	id := r.serial
	r.serial++
	r.subscribers[id] = in
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.subscribers, id)
		r.mu.Unlock()
	}()
	if connected != nil {
		connected(nil)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-in:
			select {
			case out <- e:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}
