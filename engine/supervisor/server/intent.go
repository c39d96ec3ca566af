//go:build cgo

package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"

	"github.com/cuppa-project/cuppa/engine/container"
)

// The steps of a start, in order. A supervisor may end at any of them; resumeStart is what the next one does about it.
const (
	stepIntended = "intended" // it is on disk that a start has begun
	stepMounted  = "mounted"  // the root file system is there
	stepMade     = "made"     // libcontainer knows the container
	stepWaiting  = "waiting"  // a process of ours stands where the user's program will run
	stepRunning  = "running"  // the user's program runs
	stepRecorded = "recorded" // and it is on disk that it does
)

func (s *Server) reached(step string) {
	if s.cfg.Reached != nil {
		s.cfg.Reached(step)
	}
}

// intentFile lies in the folder of a container whose start has begun. It means something only while the status says "created".
const intentFile = "starting"

// intend writes down that a start begins, before anything is done for it.
func (s *Server) intend(id string) error {
	if err := os.WriteFile(filepath.Join(s.stateDir(id), intentFile), nil, 0o600); err != nil {
		return fmt.Errorf("record the start of container %q: %w", id, err)
	}
	return nil
}

// intended tells whether and when a start had begun.
func (s *Server) intended(id string) (time.Time, bool) {
	info, err := os.Stat(filepath.Join(s.stateDir(id), intentFile))
	if err != nil {
		return time.Time{}, false
	}
	return info.ModTime(), true
}

// resumeStart takes over a container that is created as far as its record says. If the supervisor before had begun to start it, the user's
// program may run: then it is taken over as running. Or it has not come to that: then all is undone, and it may be started again.
func (s *Server) resumeStart(c *ctr) error {
	begun, ok := s.intended(c.spec.ID)
	if !ok {
		return c.io.openLog()
	}
	rc, err := libcontainer.Load(s.runcDir(), c.spec.ID)
	if err != nil {
		rc = nil // libcontainer had not come as far as writing down what it made
	}
	if pid, ok := hasRun(rc, filepath.Join(s.runcDir(), c.spec.ID)); ok {
		s.log.Info("container was being started by the supervisor before, and runs", "container", c.spec.ID, "pid", pid)
		c.change(func(st *container.Status) { st.State, st.Pid, st.StartedAt = container.Running, pid, begun })
		return errors.Join(s.save(c), s.readopt(c))
	}
	s.log.Info("container was being started by the supervisor before; what it had done is undone", "container", c.spec.ID)
	if err := s.undoStart(c, rc); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(s.stateDir(c.spec.ID), intentFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.io.openLog()
}

// execFifo is where libcontainer's first process waits to be let go on; it is removed once that has happened.
const execFifo = "exec.fifo"

// hasRun tells whether a container's first process became the user's program, and which process it is or was.
func hasRun(rc *libcontainer.Container, dir string) (pid int, ok bool) {
	if rc == nil {
		return 0, false
	}
	state, err := rc.State()
	if err != nil || state.InitProcessPid <= 0 {
		return 0, false
	}
	if _, err := os.Stat(filepath.Join(dir, execFifo)); errors.Is(err, fs.ErrNotExist) {
		return state.InitProcessPid, true
	}
	status, err := rc.Status()
	if err != nil || status == libcontainer.Stopped {
		return 0, false
	}
	return state.InitProcessPid, !isOurs(state.InitProcessPid) // it may have gone on a moment before the end
}

// isOurs tells whether a process is still this program, on its way to becoming the user's.
func isOurs(pid int) bool {
	exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return err == nil && strings.HasPrefix(exe, "/memfd:cuppa-helper")
}

// undoStart ends what a half-done start has left: processes, the cgroup, libcontainer's records, the root mount, pipes.
func (s *Server) undoStart(c *ctr, rc *libcontainer.Container) error {
	if rc != nil {
		config := rc.Config()
		cgroup, err := manager.New(config.Cgroups)
		if err != nil {
			return err
		}
		c.runc, c.cgroup = rc, cgroup
		c.killRest()
		return s.release(c)
	}
	spec, err := s.runnable(c)
	if err != nil {
		return err
	}
	config, err := translateConfig(c.spec.ID, spec, c.filter)
	if err != nil {
		return err
	}
	cgroup, err := manager.New(config.Cgroups)
	if err != nil {
		return err
	}
	c.cgroup = cgroup
	c.killRest()
	c.cgroup = nil
	return errors.Join(cgroup.Destroy(), os.RemoveAll(filepath.Join(s.runcDir(), c.spec.ID)), s.release(c))
}
