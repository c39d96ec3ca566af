//go:build cgo

package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // plugs the device rules into the cgroup manager
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/seccomp"
	"github.com/cuppa-project/cuppa/engine/supervisor/wire"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// ctr is one container. Its operations exclude each other by op; what others may look at at any time is under mu.
type ctr struct {
	spec   container.Spec // its OCI part changes: read it by oci
	filter string         // compiled system call filter, or ""; the specification's own, which is twenty times its size, is dropped
	io     *stdio
	exited chan struct{} // closed when the exit is recorded

	op      sync.Mutex
	runc    *libcontainer.Container // nil unless it runs
	cgroup  cgroups.Manager
	deleted bool

	mu     sync.Mutex
	status container.Status
	pidfd  *os.File
}

func (c *ctr) snapshot() container.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.status
	st.Labels = maps.Clone(st.Labels)
	return st
}

// oci returns the specification, which nobody changes in place.
func (c *ctr) oci() *specs.Spec {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spec.OCI
}

func (c *ctr) setOCI(spec *specs.Spec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spec.OCI = spec
}

// change edits the status.
func (c *ctr) change(f func(*container.Status)) container.Status {
	c.mu.Lock()
	f(&c.status)
	c.mu.Unlock()
	return c.snapshot()
}

func (s *Server) rootDir(id string) string { return filepath.Join(s.cfg.RunDir, "rootfs", id) }
func (s *Server) runcDir() string          { return filepath.Join(s.cfg.RunDir, "runc") }
func (s *Server) pipeDir(id string) string { return filepath.Join(s.cfg.RunDir, "containers", id) }

func (s *Server) newCtr(spec stored, st container.Status) *ctr {
	return &ctr{spec: spec.Spec, filter: spec.Filter, status: st, exited: make(chan struct{}), io: newStdio(spec.Spec, s.pipeDir(spec.ID), &s.buffers, s.log)}
}

func (s *Server) create(_ context.Context, spec container.Spec) (any, error) {
	if err := validID(spec.ID); err != nil {
		return nil, err
	}
	if spec.OCI == nil || spec.OCI.Process == nil || spec.OCI.Linux == nil {
		return nil, errkind.New(errkind.Invalid, "container %q needs a process and a linux part", spec.ID)
	}
	s.sayOnce(spec.ID, s.rights.clamp(spec.OCI.Process))
	s.warm.soon()
	filter, err := compileFilter(&spec)
	if err != nil {
		return nil, err
	}
	c := s.newCtr(stored{spec, filter}, container.Status{ID: spec.ID, State: container.Created, CreatedAt: time.Now(), Labels: spec.Labels,
		LogPath: spec.LogPath})
	c.op.Lock()
	defer c.op.Unlock()
	s.mu.Lock()
	if _, ok := s.containers[spec.ID]; ok || s.closing {
		defer s.mu.Unlock()
		if s.closing {
			return nil, errkind.New(errkind.Unavailable, "supervisor is shutting down")
		}
		return nil, errkind.New(errkind.Exists, "container %q already exists", spec.ID)
	}
	s.containers[spec.ID] = c
	s.noteCgroup(spec.OCI.Linux.CgroupsPath)
	s.mu.Unlock()
	if err := s.persist(c); err != nil {
		s.forget(c)
		return nil, err
	}
	s.events.publish(container.EventCreated, c.snapshot())
	return nil, nil
}

// sayOnce logs what was clamped, for the first container of many that it happens to.
func (s *Server) sayOnce(id string, notes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, note := range notes {
		if !s.said[note] {
			s.said[note] = true
			s.log.Info("limit clamped, here and in later containers", "limit", note, "container", id)
		}
	}
}

// persist writes a new container's folder and opens its log.
func (s *Server) persist(c *ctr) error {
	dir := s.stateDir(c.spec.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make container folder: %w", err)
	}
	err := s.saveSpec(c)
	if err == nil {
		err = s.save(c)
	}
	if err == nil {
		err = c.io.openLog()
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

func (s *Server) save(c *ctr) error {
	return writeJSON(filepath.Join(s.stateDir(c.spec.ID), statusFile), c.snapshot())
}

func (s *Server) saveSpec(c *ctr) error {
	return writeJSON(filepath.Join(s.stateDir(c.spec.ID), specFile), stored{c.spec, c.filter})
}

// compileFilter takes the system call filter out of a specification and compiles it.
func compileFilter(spec *container.Spec) (string, error) {
	filter := spec.OCI.Linux.Seccomp
	if filter == nil {
		return "", nil
	}
	spec.OCI.Linux.Seccomp = nil
	program, err := seccomp.Compile(filter, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	return program.Encode(), nil
}

func (s *Server) forget(c *ctr) {
	c.deleted = true
	s.mu.Lock()
	delete(s.containers, c.spec.ID)
	s.mu.Unlock()
}

func (s *Server) start(ctx context.Context, in wire.ID) (any, error) {
	c, err := s.find(in.ID)
	if err != nil {
		return nil, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	st := c.snapshot()
	if st.State == container.Running || st.State == container.Paused {
		return nil, nil
	}
	if err := st.State.Move(container.Running); err != nil {
		return nil, err
	}
	if c.deleted {
		return nil, errkind.New(errkind.NotFound, "container %q does not exist", in.ID)
	}
	s.warm.soon()
	if err := s.intend(in.ID); err != nil {
		return nil, err
	}
	s.reached(stepIntended)
	pid, err := s.launch(c)
	if err != nil {
		err = startError(err)
		s.failed(c, err)
		return nil, err
	}
	st = c.change(func(st *container.Status) {
		st.State, st.Pid, st.StartedAt = container.Running, pid, time.Now()
	})
	if err := s.save(c); err != nil {
		s.log.Warn("container status not saved", "container", in.ID, "err", err)
	}
	s.reached(stepRecorded)
	s.events.publish(container.EventStarted, st)
	go s.watch(c, pid)
	return nil, nil
}

// failed records that a container could not be started.
func (s *Server) failed(c *ctr, err error) {
	c.io.finish()
	st := c.change(func(st *container.Status) {
		st.State, st.ExitCode, st.Error, st.FinishedAt = container.Exited, 128, err.Error(), time.Now()
	})
	if err := s.save(c); err != nil {
		s.log.Warn("container status not saved", "container", c.spec.ID, "err", err)
	}
	close(c.exited)
	s.events.publish(container.EventExited, st)
}

// release takes away what a container has while it runs: cgroups, root mount, pipes.
func (s *Server) release(c *ctr) error {
	var errs []error
	if c.runc != nil {
		if err := c.runc.Destroy(); err != nil {
			errs = append(errs, fmt.Errorf("destroy container: %w", err))
		} else {
			c.runc, c.cgroup = nil, nil
		}
	}
	root := s.rootDir(c.spec.ID)
	if err := unmountAll(root); err != nil {
		errs = append(errs, err)
	} else if err := os.Remove(root); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("remove root folder: %w", err))
	}
	if err := s.releaseImages(c.spec.ID); err != nil {
		errs = append(errs, err)
	}
	if err := os.RemoveAll(s.pipeDir(c.spec.ID)); err != nil {
		errs = append(errs, fmt.Errorf("remove pipes: %w", err))
	}
	return errors.Join(errs...)
}

func (s *Server) delete(ctx context.Context, in wire.Delete) (any, error) {
	c, err := s.find(in.ID)
	if err != nil {
		return nil, nil
	}
	c.op.Lock()
	defer c.op.Unlock()
	if c.deleted {
		return nil, nil
	}
	if st := c.snapshot().State; st == container.Running || st == container.Paused {
		if !in.Force {
			return nil, errkind.New(errkind.Precondition, "container %q is %s", in.ID, st)
		}
		if err := c.kill(); err != nil {
			return nil, err
		}
		select {
		case <-c.exited:
		case <-ctx.Done():
			return nil, errkind.New(errkind.Unavailable, "delete container %q: %w", in.ID, ctx.Err())
		}
	}
	c.io.finish()
	if err := s.release(c); err != nil {
		return nil, fmt.Errorf("delete container %q: %w", in.ID, err)
	}
	if err := os.RemoveAll(s.stateDir(in.ID)); err != nil {
		return nil, fmt.Errorf("delete container %q: %w", in.ID, err)
	}
	s.forget(c)
	s.events.publish(container.EventDeleted, c.snapshot())
	return nil, nil
}

func (s *Server) reopenLog(_ context.Context, in wire.ID) (any, error) {
	c, err := s.find(in.ID)
	if err != nil {
		return nil, err
	}
	if st := c.snapshot().State; st == container.Exited || c.spec.LogPath == "" {
		return nil, errkind.New(errkind.Precondition, "container %q writes no log", in.ID)
	}
	return nil, c.io.reopenLog()
}
