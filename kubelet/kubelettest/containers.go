package kubelettest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

type container struct {
	config  *runtimeapi.ContainerConfig
	status  *runtimeapi.ContainerStatus
	sandbox string
	program Program
	timers  []*time.Timer
	exited  chan struct{}
	logFile *os.File
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

func (e exitError) Error() string { return fmt.Sprintf("command terminated with exit code %d", e.code) }

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
