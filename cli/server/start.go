package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cuppa-project/cuppa/internal/instance"
)

// notifyVariable names the file descriptor on which a server in the background says that it is ready.
const notifyVariable = "CUPPA_NOTIFY_FD"

// startTimeout bounds how long the command line waits for a server to become ready.
const startTimeout = time.Minute

// NotifyReady tells whoever started this process in the background, if anybody did, that its server is ready.
func NotifyReady() {
	fd, err := strconv.Atoi(os.Getenv(notifyVariable))
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "notify")
	fmt.Fprintln(f, "ready")
	f.Close()
}

// Starter starts servers in the background.
type Starter struct {
	RunDir string
	NoNode bool
	Launch func(args []string, prepare func(*exec.Cmd)) (*exec.Cmd, error)
}

func (s Starter) log() string { return filepath.Join(s.RunDir, "server.log") }

// rights asks early: without them not even the log can be written.
func (s Starter) rights() error {
	if s.NoNode {
		return nil
	}
	return instance.Rights()
}

// Start runs `cuppa server` in a session of its own. It returns when that is ready, with what its log warns of, or with the end of its log when
// it has failed.
func (s Starter) Start(ctx context.Context, args []string) (warnings string, err error) {
	if err := s.rights(); err != nil {
		return "", err
	}
	log, from, err := s.openLog()
	if err != nil {
		return "", err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	child, err := s.Launch(append([]string{"server"}, args...), func(child *exec.Cmd) {
		child.Dir = "/"
		child.Env = append(os.Environ(), notifyVariable+"=3")
		child.Stdout, child.Stderr, child.ExtraFiles = log, log, []*os.File{w}
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	})
	w.Close()
	if err != nil {
		return "", fmt.Errorf("start server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(r).ReadString('\n')
	if line == "ready\n" {
		return tail(log.Name(), from, warning), child.Process.Release()
	}
	if errors.Is(err, io.EOF) {
		_ = child.Wait() // how it ended is in its log
		return "", fmt.Errorf("the server did not start:\n%s", strings.TrimSpace(tail(log.Name(), from, notable)))
	}
	return "", fmt.Errorf("the server is not ready after %s; its log: %s", startTimeout, log.Name())
}

// openLog opens the server's log and says where it ends.
func (s Starter) openLog() (*os.File, int64, error) {
	if err := os.MkdirAll(s.RunDir, 0o711); err != nil {
		return nil, 0, fmt.Errorf("make the run directory (choose another place with --run-dir): %w", err)
	}
	log, err := os.OpenFile(s.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("write the server's log (choose another place with --run-dir): %w", err)
	}
	from, err := log.Seek(0, io.SeekEnd)
	return log, from, err
}

// warning and notable choose lines of a log: what goes well is of no use to somebody whose server has not started.
func warning(line string) bool { return strings.Contains(line, " level=WARN ") }
func notable(line string) bool {
	return !strings.Contains(line, " level=INFO ") && !strings.Contains(line, " level=DEBUG ")
}

// tail returns the lines of a kind that were written to a file after an offset, at most the last ones.
func tail(path string, from int64, kind func(string) bool) string {
	raw, err := os.ReadFile(path)
	if err != nil || int64(len(raw)) < from {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(raw[from:])) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return line + "(the trace is in " + path + ")" // without it the reason would be lost in the trace
		}
		if kind(line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-10):], "")
}
