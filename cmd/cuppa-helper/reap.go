//go:build cgo

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// reap is process 1: it runs the command, hands signals on, collects every orphan, and ends with the command's code. Without a command it
// collects orphans until it is told to end.
func reap(args []string) int {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	child := 0
	if len(args) > 0 {
		path, err := exec.LookPath(args[0])
		if err == nil {
			child, err = spawn(path, args)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			if errors.Is(err, os.ErrPermission) {
				return 126
			}
			return 127
		}
	}
	for sig := range signals {
		n := sig.(syscall.Signal)
		switch {
		case n == unix.SIGCHLD:
			if code, ended := collect(child); ended {
				return code
			}
		case n == unix.SIGURG: // the Go runtime's own
		case child > 0:
			unix.Kill(child, n)
		case n == unix.SIGTERM || n == unix.SIGINT:
			return 0
		}
	}
	return 0
}

// spawn starts the command in a process group of its own, in the foreground if there is a terminal, so that ^C reaches it alone.
func spawn(path string, args []string) (int, error) {
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if _, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		attr.Sys.Foreground = true
		attr.Sys.Ctty = 0
	}
	pid, err := syscall.ForkExec(path, args, attr)
	if err != nil {
		return 0, fmt.Errorf("exec: %q: %w", path, err)
	}
	return pid, nil
}

// collect reaps whatever has ended, and tells whether the command has.
func collect(child int) (code int, ended bool) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return code, ended
		}
		if pid == child {
			code, ended = ws.ExitStatus(), true
			if ws.Signaled() {
				code = 128 + int(ws.Signal())
			}
		}
	}
}
