//go:build cgo

package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"

	"github.com/cuppa-project/cuppa/engine/container"
)

// adopt takes over what an earlier supervisor has left: running containers keep running under us, and what ended without a witness
// is recorded as that.
func (s *Server) adopt(_ context.Context) error {
	groups, err := os.ReadDir(filepath.Join(s.cfg.RunDir, "ns"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read namespaces: %w", err)
	}
	for _, e := range groups {
		var g group
		if err := readJSON(filepath.Join(s.nsDir(e.Name()), "group.json"), &g); err != nil {
			g = group{Spec: container.NamespaceSpec{ID: e.Name()}} // half made: known, so that it can be removed
		}
		s.namespaces[e.Name()] = &g
		s.noteCgroup(g.Spec.Cgroup)
	}
	all, err := s.records()
	if err != nil {
		return err
	}
	for _, r := range all {
		c := s.newCtr(r.spec, r.status)
		s.containers[r.spec.ID] = c
		s.noteCgroup(r.spec.OCI.Linux.CgroupsPath)
		switch r.status.State {
		case container.Exited:
			c.io.ended = true
			close(c.exited)
			if err := s.release(c); err != nil {
				s.log.Warn("container not cleared up", "container", r.spec.ID, "err", err)
			}
		case container.Created:
			err = s.resumeStart(c)
		default:
			err = s.readopt(c)
		}
		if err != nil {
			s.log.Warn("container not taken over", "container", r.spec.ID, "err", err)
		}
	}
	return nil
}

// readopt takes over a container that was running.
func (s *Server) readopt(c *ctr) error {
	if err := c.io.openLog(); err != nil { // it runs all the same
		s.log.Warn("container log not opened", "container", c.spec.ID, "err", err)
	}
	rc, err := libcontainer.Load(s.runcDir(), c.spec.ID)
	if err != nil {
		s.vanished(c)
		return nil
	}
	c.runc = rc
	config := rc.Config()
	if c.cgroup, err = manager.New(config.Cgroups); err != nil {
		return err
	}
	status, err := rc.Status()
	if err != nil {
		return err
	}
	if !c.spec.Terminal {
		if err := c.io.join(); err != nil {
			s.log.Warn("container output is lost", "container", c.spec.ID, "err", err)
		}
	}
	if status == libcontainer.Stopped {
		s.vanished(c)
		return nil
	}
	if c.snapshot().Pid == 0 { // its record was damaged
		state, err := rc.State()
		if err != nil {
			return err
		}
		c.change(func(st *container.Status) { st.Pid, st.StartedAt = state.InitProcessPid, state.Created })
	}
	s.log.Info("container taken over", "container", c.spec.ID, "pid", c.status.Pid)
	go s.watch(c, c.status.Pid)
	return nil
}

// vanished records a container that ended unseen.
func (s *Server) vanished(c *ctr) {
	oom := c.oomKills() > 0
	c.io.finish()
	c.change(func(st *container.Status) {
		st.State, st.Pid, st.ExitCode, st.FinishedAt, st.OOMKilled = container.Exited, 0, 255, time.Now(), oom
		st.Error = "ended while no supervisor was running; its exit code is lost"
	})
	close(c.exited)
	if err := errors.Join(s.save(c), s.release(c)); err != nil {
		s.log.Warn("container not cleared up", "container", c.spec.ID, "err", err)
	}
}
