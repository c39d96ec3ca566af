// Package kubelettest is what tests of a node agent need around it: a container runtime and a cluster, both in memory.
//
// They are honest: they keep the rules of the interfaces they stand for, answer with the errors a real one would, and can be looked
// at. What containers do is scripted with Program. Nothing here starts a process or opens a socket. Start with Runtime and Cluster.
package kubelettest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
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
	terse              bool
}

type sandbox struct {
	config *runtimeapi.PodSandboxConfig
	status *runtimeapi.PodSandboxStatus
}

type container struct {
	config  *runtimeapi.ContainerConfig
	status  *runtimeapi.ContainerStatus
	sandbox string
	program Program
	timers  []*time.Timer
	exited  chan struct{}
	logFile *os.File
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

func (r *Runtime) addImage(name string) {
	r.images[name] = &runtimeapi.Image{Id: "sha256:" + name, RepoTags: []string{name}, Size: 1000, Spec: &runtimeapi.ImageSpec{Image: name}}
}

// Offer makes an image pullable.
func (r *Runtime) Offer(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registry[name] = true
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

// SetUser makes an image run as a user.
func (r *Runtime) SetUser(name string, uid int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[name].Uid = &runtimeapi.Int64Value{Value: uid}
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

// RunPodSandbox implements cri.RuntimeService.
func (r *Runtime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, _ string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if r.sandboxError != nil {
		return "", r.sandboxError
	}
	for _, s := range r.sandboxes {
		if s.config.Metadata.Uid == config.Metadata.Uid && s.config.Metadata.Attempt == config.Metadata.Attempt {
			return "", errkind.New(errkind.Exists, "sandbox of pod %s attempt %d exists", config.Metadata.Name, config.Metadata.Attempt)
		}
	}
	id := r.id("sandbox")
	r.nextIP++
	status := &runtimeapi.PodSandboxStatus{
		Id: id, Metadata: config.Metadata, CreatedAt: time.Now().UnixNano(), Labels: config.Labels, Annotations: config.Annotations,
		Network: &runtimeapi.PodSandboxNetworkStatus{Ip: fmt.Sprintf("10.1.0.%d", r.nextIP)},
		Linux:   &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: config.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
	}
	r.sandboxes[id] = &sandbox{config: config, status: status}
	r.note("run sandbox %s attempt=%d", config.Metadata.Name, config.Metadata.Attempt)
	return id, nil
}

// StopPodSandbox implements cri.RuntimeService.
func (r *Runtime) StopPodSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.sandboxes[id]; ok {
		r.note("stop sandbox %s", s.config.Metadata.Name)
		r.stopSandbox(id, s)
	}
	return nil
}

func (r *Runtime) stopSandbox(id string, s *sandbox) {
	for _, c := range r.containers {
		if c.sandbox == id && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			r.exit(c, 137, "")
		}
	}
	s.status.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	r.publish(id, "", runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// RemovePodSandbox implements cri.RuntimeService.
func (r *Runtime) RemovePodSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return nil
	}
	r.stopSandbox(id, s)
	for cid, c := range r.containers {
		if c.sandbox == id {
			delete(r.containers, cid)
		}
	}
	r.note("remove sandbox %s", s.config.Metadata.Name)
	r.publish(id, "", runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	delete(r.sandboxes, id)
	return nil
}

// PodSandboxStatus implements cri.RuntimeService.
func (r *Runtime) PodSandboxStatus(_ context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return nil, errkind.New(errkind.NotFound, "no sandbox %s", id)
	}
	response := &runtimeapi.PodSandboxStatusResponse{Status: proto.CloneOf(s.status)}
	if r.terse {
		return response, nil
	}
	response.Timestamp = time.Now().UnixNano()
	for _, c := range r.containers {
		if c.sandbox == id {
			response.ContainersStatuses = append(response.ContainersStatuses, proto.CloneOf(c.status))
		}
	}
	return response, nil
}

// ListPodSandbox implements cri.RuntimeService.
func (r *Runtime) ListPodSandbox(_ context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*runtimeapi.PodSandbox
	for id, s := range r.sandboxes {
		if !selects(filter.GetLabelSelector(), s.config.Labels) {
			continue
		}
		out = append(out, &runtimeapi.PodSandbox{Id: id, Metadata: s.config.Metadata, State: s.status.State, CreatedAt: s.status.CreatedAt,
			Labels: s.config.Labels, Annotations: s.config.Annotations})
	}
	slices.SortFunc(out, func(a, b *runtimeapi.PodSandbox) int { return cmp.Compare(a.Id, b.Id) })
	return out, nil
}

func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// CreateContainer implements cri.RuntimeService.
func (r *Runtime) CreateContainer(_ context.Context, sandboxID string, config *runtimeapi.ContainerConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[sandboxID]
	if !ok || s.status.State != runtimeapi.PodSandboxState_SANDBOX_READY {
		return "", errkind.New(errkind.Precondition, "sandbox %s is not ready", sandboxID)
	}
	for _, c := range r.containers {
		if c.sandbox == sandboxID && c.config.Metadata.Name == config.Metadata.Name && c.config.Metadata.Attempt == config.Metadata.Attempt {
			return "", errkind.New(errkind.Exists, "container %s attempt %d exists", config.Metadata.Name, config.Metadata.Attempt)
		}
	}
	if _, ok := r.images[strings.TrimPrefix(config.Image.Image, "sha256:")]; !ok {
		return "", errkind.New(errkind.NotFound, "no image %s", config.Image.Image)
	}
	for _, m := range config.Mounts {
		if _, err := os.Stat(m.HostPath); err != nil && m.Image == nil {
			return "", errkind.New(errkind.Invalid, "mount %s: %w", m.ContainerPath, err)
		}
	}
	id := r.id("container")
	c := &container{config: config, sandbox: sandboxID, exited: make(chan struct{}), status: &runtimeapi.ContainerStatus{
		Id: id, Metadata: config.Metadata, State: runtimeapi.ContainerState_CONTAINER_CREATED, CreatedAt: time.Now().UnixNano(),
		Image: config.Image, ImageRef: config.Image.Image, Labels: config.Labels, Annotations: config.Annotations, Mounts: config.Mounts,
		LogPath: filepath.Join(s.config.LogDirectory, config.LogPath),
	}}
	if program, ok := r.programs[config.Metadata.Name]; ok {
		c.program = program(config.Metadata.Attempt)
	}
	r.containers[id] = c
	r.note("create %s attempt=%d", config.Metadata.Name, config.Metadata.Attempt)
	r.publish(sandboxID, id, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	return id, nil
}

// StartContainer implements cri.RuntimeService.
func (r *Runtime) StartContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return errkind.New(errkind.NotFound, "no container %s", id)
	}
	if c.status.State != runtimeapi.ContainerState_CONTAINER_CREATED {
		return errkind.New(errkind.Precondition, "container %s is %s", id, c.status.State)
	}
	if c.program.StartError != nil {
		c.status.StartedAt = time.Now().UnixNano()
		r.exit(c, 128, "StartError")
		c.status.Message = c.program.StartError.Error()
		return c.program.StartError
	}
	if err := r.openLog(c); err != nil {
		return err
	}
	c.status.State, c.status.StartedAt = runtimeapi.ContainerState_CONTAINER_RUNNING, time.Now().UnixNano()
	r.note("start %s attempt=%d", c.config.Metadata.Name, c.config.Metadata.Attempt)
	for _, line := range c.program.Output {
		r.write(c, line)
	}
	if c.program.RunFor > 0 {
		c.timers = append(c.timers, time.AfterFunc(c.program.RunFor, func() { r.end(c, c.program.ExitCode, c.program.Reason) }))
	}
	r.publish(c.sandbox, id, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return nil
}

func (r *Runtime) openLog(c *container) error {
	if err := os.MkdirAll(filepath.Dir(c.status.LogPath), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(c.status.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	c.logFile = file
	return err
}

func (r *Runtime) write(c *container, line string) {
	if c.logFile != nil {
		fmt.Fprintf(c.logFile, "%s stdout F %s\n", time.Now().UTC().Format(time.RFC3339Nano), line)
	}
}

// Print writes a line to the log of the running container of a name.
func (r *Runtime) Print(name, line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		if c.config.Metadata.Name == name && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			r.write(c, line)
		}
	}
}

func (r *Runtime) end(c *container, code int32, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exit(c, code, reason)
}

// exit ends a container. r.mu is held.
func (r *Runtime) exit(c *container, code int32, reason string) {
	if c.status.State == runtimeapi.ContainerState_CONTAINER_EXITED {
		return
	}
	for _, t := range c.timers {
		t.Stop()
	}
	if c.logFile != nil {
		_ = c.logFile.Close()
		c.logFile = nil
	}
	if path := c.config.Annotations["cuppa.dev/termination-message-host-path"]; path != "" && c.program.LastWords != "" {
		_ = os.WriteFile(path, []byte(c.program.LastWords), 0o666)
	}
	c.status.State, c.status.FinishedAt, c.status.ExitCode = runtimeapi.ContainerState_CONTAINER_EXITED, time.Now().UnixNano(), code
	if reason == "" {
		reason = map[bool]string{true: "Completed", false: "Error"}[code == 0]
	}
	c.status.Reason = reason
	close(c.exited)
	r.note("exit %s attempt=%d code=%d", c.config.Metadata.Name, c.config.Metadata.Attempt, code)
	r.publish(c.sandbox, c.status.Id, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// StopContainer implements cri.RuntimeService.
func (r *Runtime) StopContainer(ctx context.Context, id string, timeout int64) error {
	r.mu.Lock()
	c, ok := r.containers[id]
	if !ok || c.status.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		r.mu.Unlock()
		return nil
	}
	r.note("stop %s timeout=%d", c.config.Metadata.Name, timeout)
	if timeout > 0 && !c.program.IgnoreTerm {
		c.timers = append(c.timers, time.AfterFunc(c.program.TermDelay, func() { r.end(c, c.program.TermCode, "") }))
	}
	r.mu.Unlock()
	timer := time.NewTimer(time.Duration(timeout) * time.Second)
	defer timer.Stop()
	select {
	case <-c.exited:
	case <-timer.C:
		r.end(c, 137, "")
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// RemoveContainer implements cri.RuntimeService.
func (r *Runtime) RemoveContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil
	}
	if c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
		r.exit(c, 137, "")
	}
	r.note("remove %s attempt=%d", c.config.Metadata.Name, c.config.Metadata.Attempt)
	delete(r.containers, id)
	r.publish(c.sandbox, id, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	return nil
}

// ListContainers implements cri.RuntimeService.
func (r *Runtime) ListContainers(_ context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*runtimeapi.Container
	for id, c := range r.containers {
		if !selects(filter.GetLabelSelector(), c.config.Labels) || filter.GetId() != "" && filter.GetId() != id {
			continue
		}
		out = append(out, &runtimeapi.Container{Id: id, PodSandboxId: c.sandbox, Metadata: c.config.Metadata, Image: c.config.Image,
			ImageRef: c.status.ImageRef, State: c.status.State, CreatedAt: c.status.CreatedAt, Labels: c.config.Labels, Annotations: c.config.Annotations})
	}
	slices.SortFunc(out, func(a, b *runtimeapi.Container) int { return cmp.Compare(a.Id, b.Id) })
	return out, nil
}

// ContainerStatus implements cri.RuntimeService.
func (r *Runtime) ContainerStatus(_ context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok {
		return nil, errkind.New(errkind.NotFound, "no container %s", id)
	}
	return &runtimeapi.ContainerStatusResponse{Status: proto.CloneOf(c.status)}, nil
}

type exitError struct{ code int }

func (e exitError) Error() string   { return fmt.Sprintf("command terminated with exit code %d", e.code) }
func (e exitError) ExitStatus() int { return e.code }

// ExecSync implements cri.RuntimeService.
func (r *Runtime) ExecSync(_ context.Context, id string, cmd []string, _ time.Duration) ([]byte, []byte, error) {
	r.mu.Lock()
	c, ok := r.containers[id]
	running := ok && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING
	r.note("exec %s", strings.Join(cmd, " "))
	r.mu.Unlock()
	switch {
	case !running:
		return nil, nil, errkind.New(errkind.Precondition, "container %s is not running", id)
	case c.program.Exec == nil:
		return nil, nil, nil
	}
	output, code := c.program.Exec(cmd)
	if code != 0 {
		return []byte(output), nil, exitError{code}
	}
	return []byte(output), nil, nil
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

// ImageStatus implements cri.ImageManagerService.
func (r *Runtime) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &runtimeapi.ImageStatusResponse{Image: r.images[strings.TrimPrefix(spec.Image, "sha256:")]}, nil
}

// ListImages implements cri.ImageManagerService.
func (r *Runtime) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*runtimeapi.Image
	for _, image := range r.images {
		out = append(out, image)
	}
	slices.SortFunc(out, func(a, b *runtimeapi.Image) int { return cmp.Compare(a.Id, b.Id) })
	return out, nil
}

// PullImage implements cri.ImageManagerService.
func (r *Runtime) PullImage(ctx context.Context, spec *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	r.mu.Lock()
	delay := r.pullDelay
	r.mu.Unlock()
	if err := wait(ctx, delay); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note("pull %s user=%q", spec.Image, auth.GetUsername())
	if !r.registry[spec.Image] {
		return "", errkind.New(errkind.NotFound, "%s: not found", spec.Image)
	}
	r.addImage(spec.Image)
	return r.images[spec.Image].Id, nil
}

// RemoveImage implements cri.ImageManagerService.
func (r *Runtime) RemoveImage(_ context.Context, spec *runtimeapi.ImageSpec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.images, strings.TrimPrefix(spec.Image, "sha256:"))
	return nil
}

// ImageFsInfo implements cri.ImageManagerService.
func (r *Runtime) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{}, nil
}
