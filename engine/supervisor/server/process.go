//go:build cgo

package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// runInit runs a container's first process with its streams connected.
func (s *Server) runInit(c *ctr, p *specs.Process) (pid int, err error) {
	proc := translate(p)
	proc.Init = true
	if c.spec.Terminal {
		master, err := withTerminal(proc, func(p *libcontainer.Process) error { return s.runStopped(c, p) })
		if err != nil {
			return 0, err
		}
		c.io.terminal(master)
		return proc.Pid()
	}
	e, err := c.io.open()
	if err != nil {
		return 0, err
	}
	defer e.close()
	proc.Stdout, proc.Stderr = e.stdout, e.stderr
	if e.stdin != nil {
		proc.Stdin = e.stdin
	}
	if err := s.runStopped(c, proc); err != nil {
		return 0, err
	}
	return proc.Pid()
}

// runStopped makes a container's first process, which stops before it becomes the user's program, and then lets it go on.
func (s *Server) runStopped(c *ctr, proc *libcontainer.Process) error {
	if err := c.runc.Start(proc); err != nil {
		return err
	}
	s.reached(stepWaiting)
	if err := c.runc.Exec(); err != nil {
		return err
	}
	s.reached(stepRunning)
	return nil
}

// translate turns an OCI process into libcontainer's. Everything that is not set here comes from the container's configuration.
func translate(p *specs.Process) *libcontainer.Process {
	noNew := p.NoNewPrivileges
	proc := &libcontainer.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd, UID: int(p.User.UID), GID: int(p.User.GID), NoNewPrivileges: &noNew,
		Label: p.SelinuxLabel, AppArmorProfile: p.ApparmorProfile, Scheduler: p.Scheduler, IOPriority: p.IOPriority, LogLevel: "4",
	}
	for _, gid := range p.User.AdditionalGids {
		proc.AdditionalGroups = append(proc.AdditionalGroups, int(gid))
	}
	numbers := rlimits()
	for _, l := range p.Rlimits {
		if n, ok := numbers[l.Type]; ok {
			proc.Rlimits = append(proc.Rlimits, configs.Rlimit{Type: n, Hard: l.Hard, Soft: l.Soft})
		}
	}
	if p.ConsoleSize != nil {
		proc.ConsoleWidth, proc.ConsoleHeight = uint16(p.ConsoleSize.Width), uint16(p.ConsoleSize.Height)
	}
	if caps := p.Capabilities; caps != nil {
		proc.Capabilities = &configs.Capabilities{Bounding: caps.Bounding, Effective: caps.Effective,
			Inheritable: caps.Inheritable, Permitted: caps.Permitted, Ambient: caps.Ambient}
	}
	return proc
}

// withTerminal runs a process on a new terminal and returns the terminal's master, ready for the poller.
func withTerminal(proc *libcontainer.Process, run func(*libcontainer.Process) error) (*os.File, error) {
	parent, child, err := utils.NewSockPair("console")
	if err != nil {
		return nil, fmt.Errorf("make console socket: %w", err)
	}
	defer parent.Close()
	proc.ConsoleSocket = child
	err = run(proc)
	child.Close()
	if err != nil {
		return nil, err
	}
	return receiveTerminal(parent)
}

func receiveTerminal(socket *os.File) (*os.File, error) {
	var data [4096]byte
	oob := make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), data[:], oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, errkind.New(errkind.Internal, "receive terminal: no descriptor")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errkind.New(errkind.Internal, "receive terminal: no descriptor")
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// execProcess describes a further process of a container.
func (r rights) execProcess(spec *specs.Spec, p container.Process) (*libcontainer.Process, error) {
	base := *spec.Process
	base.Args = p.Args
	if len(p.Args) == 0 {
		return nil, errkind.New(errkind.Invalid, "exec: no command specified")
	}
	if p.Env != nil {
		base.Env = p.Env
	}
	if p.Dir != "" {
		base.Cwd = p.Dir
	}
	if base.Cwd == "" {
		base.Cwd = "/"
	}
	if p.User != "" {
		user, err := parseUser(p.User)
		if err != nil {
			return nil, err
		}
		base.User = user
	}
	if p.Privileged {
		all := allCapabilities()
		base.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
		r.clampCapabilities(base.Capabilities)
		base.NoNewPrivileges = false
	}
	base.ConsoleSize = nil
	if p.Size != (container.Size{}) {
		base.ConsoleSize = &specs.Box{Width: uint(p.Size.Width), Height: uint(p.Size.Height)}
	}
	return translate(&base), nil
}

func parseUser(text string) (specs.User, error) {
	uid, gid, both := strings.Cut(text, ":")
	u, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return specs.User{}, errkind.New(errkind.Invalid, "user %q is not a number", uid)
	}
	user := specs.User{UID: uint32(u)}
	if both {
		g, err := strconv.ParseUint(gid, 10, 32)
		if err != nil {
			return specs.User{}, errkind.New(errkind.Invalid, "group %q is not a number", gid)
		}
		user.GID = uint32(g)
	}
	return user, nil
}

// startError gives the failures that are the user's doing the kind Invalid.
func startError(err error) error {
	if errkind.Of(err) != nil {
		return err
	}
	text := err.Error()
	for _, words := range []string{"executable file not found", "no such file or directory", "permission denied", "not a directory",
		"exec format error", "is a directory", "unable to find user", "chdir to cwd"} {
		if strings.Contains(text, words) {
			return errkind.New(errkind.Invalid, "%w", err)
		}
	}
	return errkind.New(errkind.Internal, "%w", err)
}

// exit is how a process ended.
type exit struct {
	code  int
	known bool
}

// waitFor returns when the process has ended. It takes no thread meanwhile: the poller watches the pidfd.
func waitFor(pidfd *os.File, pid int) exit {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return exit{}
	}
	var e exit
	raw.Read(func(fd uintptr) bool {
		var done bool
		e, done = reap(int(fd), pid)
		return done
	})
	return e
}

// reap collects a process's end if it has come. A process that is not our child (any more) tells the kernel's last word by its pidfd.
func reap(fd, pid int) (exit, bool) {
	var ws unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && got == 0:
			return exit{}, false
		case err == nil:
			return exit{code: exitCode(ws), known: true}, true
		}
		break
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, 0); err == nil && n == 0 {
		return exit{}, false
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(fd, &info); err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
		return exit{code: exitCode(unix.WaitStatus(uint32(info.Exit_code))), known: true}, true
	}
	return exit{}, true
}

func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// openPidfd returns a pidfd that the poller can watch.
func openPidfd(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// sendSignal sends a signal through a pidfd.
func sendSignal(pidfd *os.File, sig unix.Signal) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return fs.ErrClosed
	}
	var sent error
	err = raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	return errors.Join(err, sent)
}
