package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// task is a child process in a process group of its own: ^C reaches this program alone, which then ends everything in order.
type task struct {
	*exec.Cmd
	out bytes.Buffer
}

// graceTime is how long a child may take to end when it is asked to, before it is killed with all that it started.
const graceTime = time.Minute

func (c *conformance) command(ctx context.Context, name string, args ...string) *task {
	t := &task{Cmd: exec.CommandContext(ctx, name, args...)}
	t.Env = os.Environ()
	t.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	t.Cancel = func() error { return syscall.Kill(-t.Process.Pid, syscall.SIGTERM) }
	t.WaitDelay = graceTime
	t.Stdout, t.Stderr = &t.out, &t.out
	return t
}

// do runs the child; what it printed is told only if it failed.
func (t *task) do() error {
	err := t.Run()
	if t.Process != nil {
		// Of a child that was killed, others may be left; of one that ended in order, none are. The group has no other members.
		_ = syscall.Kill(-t.Process.Pid, syscall.SIGKILL)
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(t.Args, " "), err, lastLines(t.out.String(), 10))
	}
	return nil
}

func (t *task) read() (string, error) {
	err := t.do()
	return t.out.String(), err
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
