//go:build cgo

package server

import (
	"context"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/supervisor/wire"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// three sorts received descriptors by stream.
func three(files []*os.File, which wire.Stdio) ([3]*os.File, error) {
	var out [3]*os.File
	for i, have := range []bool{which.Stdin, which.Stdout, which.Stderr} {
		if !have {
			continue
		}
		if len(files) == 0 {
			return out, errkind.New(errkind.Invalid, "a stream is announced but its descriptor is missing")
		}
		out[i], files = files[0], files[1:]
	}
	return out, nil
}

// exec runs a process to its end. The client holds the other ends of its streams.
func (s *Server) exec(ctx context.Context, r *request) (any, error) {
	var in wire.Exec
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	streams, err := three(r.files, in.Stdio)
	if err != nil {
		return nil, err
	}
	c, err := s.find(in.ID)
	if err != nil {
		return nil, err
	}
	s.warm.soon()
	proc, err := s.rights.execProcess(c.oci(), in.Process)
	if err != nil {
		return nil, err
	}
	pid, master, err := s.launchExec(c, proc, in.Process.Terminal, streams)
	if err != nil {
		return nil, err
	}
	pidfd, err := openPidfd(pid)
	if err != nil {
		if master != nil {
			master.Close()
		}
		return nil, err
	}
	defer pidfd.Close()
	ctx, cancel := r.untilGone(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { sendSignal(pidfd, unix.SIGKILL) })
	defer stop()
	if master != nil {
		raw, cerr := master.SyscallConn()
		if cerr == nil {
			cerr = raw.Control(func(fd uintptr) { err = r.say(wire.Started{Pid: pid}, int(fd)) })
		}
		master.Close()
		if err == nil {
			err = cerr
		}
	} else {
		err = r.say(wire.Started{Pid: pid})
		wire.CloseAll(r.files) // so that the client sees the streams' end with the process's
		r.files = nil
	}
	if err != nil {
		sendSignal(pidfd, unix.SIGKILL)
	}
	e := waitFor(pidfd, pid)
	if !e.known {
		return nil, errkind.New(errkind.Internal, "exit code of process %d is lost", pid)
	}
	return wire.Exit{Code: e.code}, nil
}

// launchExec starts the process; libcontainer lets only one start at a time into a container.
func (s *Server) launchExec(c *ctr, proc *libcontainer.Process, terminal bool, streams [3]*os.File) (int, *os.File, error) {
	c.op.Lock()
	defer c.op.Unlock()
	switch st := c.snapshot().State; {
	case st == container.Paused:
		return 0, nil, errkind.New(errkind.Precondition, "container %q is paused", c.spec.ID)
	case st != container.Running || c.runc == nil:
		return 0, nil, errkind.New(errkind.Precondition, "container %q is not running", c.spec.ID)
	}
	var (
		master *os.File
		err    error
	)
	if terminal {
		master, err = withTerminal(proc, c.runc.Start)
	} else {
		// An interface that holds a nil file is not a nil interface, hence one by one.
		if streams[0] != nil {
			proc.Stdin = streams[0]
		}
		if streams[1] != nil {
			proc.Stdout = streams[1]
		}
		if streams[2] != nil {
			proc.Stderr = streams[2]
		}
		err = c.runc.Start(proc)
	}
	if err != nil {
		if c.snapshot().State == container.Exited {
			return 0, nil, errkind.New(errkind.Precondition, "container %q is not running", c.spec.ID)
		}
		return 0, nil, startError(err)
	}
	pid, err := proc.Pid()
	return pid, master, err
}

// attach joins a client to a container's streams until the container or the client goes.
func (s *Server) attach(ctx context.Context, r *request) (any, error) {
	var in wire.Attach
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	c, err := s.find(in.ID)
	if err != nil {
		return nil, err
	}
	streams, err := three(r.files, in.Stdio)
	if err != nil {
		return nil, err
	}
	if in.Stdio.Stdin && !c.spec.OpenStdin {
		streams[0].Close() // the client's writes fail, as with a process that has closed its input
	}
	files := [3]*os.File{}
	for i, f := range streams {
		if f == nil || i == 0 && !c.spec.OpenStdin {
			continue
		}
		if files[i], err = pollable(f); err != nil {
			return nil, err
		}
	}
	wire.CloseAll(r.files)
	r.files = nil
	k := &sink{stdout: files[1], stderr: files[2], done: make(chan struct{})}
	c.io.attach(k)
	defer c.io.detach(k)
	if err := r.say(nil); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go r.resizes(c, cancel)
	defer r.conn.CloseRead()
	if files[0] != nil {
		defer files[0].Close()
		go c.feedWhenStarted(ctx, files[0])
	}
	select {
	case <-k.done:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// resizes reads the client's frames until it goes.
func (r *request) resizes(c *ctr, gone context.CancelFunc) {
	defer gone()
	for {
		var size wire.Resize
		files, err := r.conn.Receive(&size)
		wire.CloseAll(files)
		if err != nil {
			return
		}
		c.io.resize(size)
	}
}

// pollable turns a received descriptor into a file with deadlines that no thread blocks on. The old one is left to its owner.
func pollable(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, errkind.New(errkind.Internal, "duplicate descriptor: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, errkind.New(errkind.Internal, "set non-blocking: %w", err)
	}
	return os.NewFile(uintptr(fd), "stream"), nil
}

// feedWhenStarted waits for the container's process, whose input does not exist before, then copies.
func (c *ctr) feedWhenStarted(ctx context.Context, from *os.File) {
	select {
	case <-c.io.opened:
		c.io.feed(from)
	case <-ctx.Done():
	}
}
