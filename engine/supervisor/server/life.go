//go:build cgo

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/supervisor/wire"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// watch waits for a container's end and records it.
func (s *Server) watch(c *ctr, pid int) {
	pidfd, err := openPidfd(pid)
	e := exit{}
	if err == nil {
		c.mu.Lock()
		c.pidfd = pidfd
		c.mu.Unlock()
		e = waitFor(pidfd, pid)
	} else {
		e, _ = reap(-1, pid)
	}
	s.ended(c, e)
}

// ended records a container's end: output first, then the record, then the event, and at last the clearing up.
func (s *Server) ended(c *ctr, e exit) {
	oom := c.oomKills() > 0
	if sharesPids(c.oci().Linux) {
		c.killRest() // others would hold the pipes open, and live on
	}
	c.io.finish()
	c.mu.Lock()
	if c.pidfd != nil {
		c.pidfd.Close()
		c.pidfd = nil
	}
	c.mu.Unlock()
	st := c.change(func(st *container.Status) {
		st.State, st.Pid, st.ExitCode, st.FinishedAt, st.OOMKilled = container.Exited, 0, e.code, time.Now(), oom
		if !e.known {
			st.ExitCode, st.Error = 255, "ended while no supervisor was running; its exit code is lost"
		}
	})
	if oom {
		s.events.publish(container.EventOOM, st)
	}
	s.events.publish(container.EventExited, st)
	close(c.exited)
	s.settle(c)
	if err := syncRecord(s.stateDir(c.spec.ID)); err != nil {
		s.log.Warn("exit not synced", "container", c.spec.ID, "err", err)
	}
}

// settle writes an exit down and clears up.
func (s *Server) settle(c *ctr) {
	c.op.Lock()
	defer c.op.Unlock()
	if c.deleted {
		return
	}
	if err := s.save(c); err != nil {
		s.log.Warn("exit not saved", "container", c.spec.ID, "err", err)
	}
	if err := s.release(c); err != nil {
		s.log.Warn("container not cleared up", "container", c.spec.ID, "err", err)
	}
}

// sharesPids tells whether a container has no pid namespace to itself, so that its processes do not die with the first.
func sharesPids(l *specs.Linux) bool {
	for _, ns := range l.Namespaces {
		if ns.Type == specs.PIDNamespace {
			return ns.Path != ""
		}
	}
	return true
}

func (c *ctr) oomKills() uint64 {
	if c.cgroup == nil {
		return 0
	}
	n, err := c.cgroup.OOMKillCount()
	if err != nil {
		return 0
	}
	return n
}

// killRest kills every process in the container's cgroup.
func (c *ctr) killRest() {
	if c.cgroup == nil {
		return
	}
	for range 10 {
		pids, err := c.cgroup.GetAllPids()
		if err != nil || len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(time.Millisecond) // the kernel needs a moment; what is left is killed again
	}
}

// kill ends the container's first process for sure; its caller holds op.
func (c *ctr) kill() error {
	c.mu.Lock()
	pid, pidfd, paused := c.status.Pid, c.pidfd, c.status.State == container.Paused
	c.mu.Unlock()
	var err error
	if pidfd != nil {
		err = sendSignal(pidfd, unix.SIGKILL)
	} else if pid > 0 {
		err = unix.Kill(pid, unix.SIGKILL)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill container %q: %w", c.spec.ID, err)
	}
	if paused && c.cgroup != nil {
		if err := c.cgroup.Freeze(cgroups.Thawed); err != nil {
			return fmt.Errorf("thaw container %q: %w", c.spec.ID, err)
		}
	}
	return nil
}

func (s *Server) signal(_ context.Context, in wire.Signal) (any, error) {
	c, err := s.find(in.ID)
	if err != nil {
		return nil, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	st := c.snapshot()
	if st.State != container.Running && st.State != container.Paused {
		return nil, errkind.New(errkind.NotFound, "container %q is not running", in.ID)
	}
	if in.Signal == int(unix.SIGKILL) {
		if in.All {
			c.killRest()
		}
		return nil, c.kill()
	}
	if in.All {
		pids, err := c.cgroup.GetAllPids()
		if err != nil {
			return nil, fmt.Errorf("signal container %q: %w", in.ID, err)
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.Signal(in.Signal)); err != nil && err != unix.ESRCH {
				return nil, fmt.Errorf("signal container %q: %w", in.ID, err)
			}
		}
		return nil, nil
	}
	untilExeced(st.Pid)
	if err := unix.Kill(st.Pid, unix.Signal(in.Signal)); err != nil {
		if err == unix.ESRCH {
			return nil, errkind.New(errkind.NotFound, "container %q is not running", in.ID)
		}
		if err == unix.EINVAL {
			return nil, errkind.New(errkind.Invalid, "signal %d does not exist", in.Signal)
		}
		return nil, fmt.Errorf("signal container %q: %w", in.ID, err)
	}
	return nil, nil
}

// untilExeced waits for the last step of a start, from our program to the user's, so that a signal meets the one it is meant for.
func untilExeced(pid int) {
	for range 1000 {
		if !isOurs(pid) {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func (s *Server) pause(_ context.Context, in wire.ID) (any, error) {
	return nil, s.freeze(in.ID, cgroups.Frozen, container.Paused)
}

func (s *Server) resume(_ context.Context, in wire.ID) (any, error) {
	return nil, s.freeze(in.ID, cgroups.Thawed, container.Running)
}

func (s *Server) freeze(id string, freezer cgroups.FreezerState, to container.State) error {
	c, err := s.find(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	st := c.snapshot()
	if st.State == to {
		return nil
	}
	if st.State == container.Created {
		return errkind.New(errkind.Precondition, "container %q is not running", id)
	}
	if err := st.State.Move(to); err != nil {
		return err
	}
	if err := c.cgroup.Freeze(freezer); err != nil {
		return fmt.Errorf("set container %q to %s: %w", id, to, err)
	}
	c.change(func(st *container.Status) {
		if st.State != container.Exited {
			st.State = to
		}
	})
	return s.save(c)
}

// update changes limits: those given replace the ones before, the others stay.
func (s *Server) update(_ context.Context, in wire.Update) (any, error) {
	c, err := s.find(in.ID)
	if err != nil {
		return nil, err
	}
	if in.Resources == nil {
		return nil, nil
	}
	c.op.Lock()
	defer c.op.Unlock()
	spec := *c.oci()
	linux := *spec.Linux
	if linux.Resources, err = merge(linux.Resources, in.Resources); err != nil {
		return nil, err
	}
	spec.Linux = &linux
	if c.runc != nil {
		cg, err := specconv.CreateCgroupConfig(&specconv.CreateOpts{CgroupName: in.ID, Spec: &spec}, nil)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "update container %q: %w", in.ID, err)
		}
		cg.Resources.SkipDevices = true                     // what runs has its devices
		defer func() { cg.Resources.SkipDevices = false }() // and nothing could be executed in it any more
		config := c.runc.Config()
		cg.Resources.Devices = config.Cgroups.Resources.Devices
		config.Cgroups = cg
		if err := c.runc.Set(config); err != nil {
			return nil, fmt.Errorf("update container %q: %w", in.ID, err)
		}
	}
	c.setOCI(&spec)
	return nil, s.saveSpec(c)
}

// merge lays the fields that are set in change over base.
func merge(base, change *specs.LinuxResources) (*specs.LinuxResources, error) {
	merged := &specs.LinuxResources{}
	for _, r := range []*specs.LinuxResources{base, change} {
		if r == nil {
			continue
		}
		data, err := json.Marshal(r)
		if err == nil {
			err = json.Unmarshal(data, merged)
		}
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "merge limits: %w", err)
		}
	}
	return merged, nil
}

func (s *Server) stats(_ context.Context, in wire.ID) (any, error) {
	c, err := s.find(in.ID)
	if err != nil {
		return nil, err
	}
	c.op.Lock()
	cgroup := c.cgroup
	c.op.Unlock()
	if st := c.snapshot().State; cgroup == nil || st != container.Running && st != container.Paused {
		return nil, errkind.New(errkind.Precondition, "container %q is not running", in.ID)
	}
	raw, err := cgroup.GetStats()
	if err != nil {
		return nil, fmt.Errorf("read statistics of container %q: %w", in.ID, err)
	}
	return readStats(raw, time.Now()), nil
}

// readStats picks what we report out of a cgroup's statistics, whose memory keys differ between the versions of cgroups.
func readStats(raw *cgroups.Stats, now time.Time) container.Stats {
	mem := raw.MemoryStats.Stats
	first := func(names ...string) uint64 {
		for _, name := range names {
			if v, ok := mem[name]; ok {
				return v
			}
		}
		return 0
	}
	st := container.Stats{
		Time:            now,
		CPUUsage:        time.Duration(raw.CpuStats.CpuUsage.TotalUsage),
		MemoryUsage:     raw.MemoryStats.Usage.Usage,
		MemoryLimit:     raw.MemoryStats.Usage.Limit,
		MemoryRSS:       first("total_rss", "anon"),
		PageFaults:      first("total_pgfault", "pgfault"),
		MajorPageFaults: first("total_pgmajfault", "pgmajfault"),
		Pids:            raw.PidsStats.Current,
	}
	if inactive := first("total_inactive_file", "inactive_file"); inactive < st.MemoryUsage {
		st.MemoryWorkingSet = st.MemoryUsage - inactive
	}
	for _, e := range raw.BlkioStats.IoServiceBytesRecursive {
		switch e.Op {
		case "Read", "read":
			st.BlkRead += e.Value
		case "Write", "write":
			st.BlkWrite += e.Value
		}
	}
	return st
}
