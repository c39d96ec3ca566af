package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// lock makes sure that one server at a time works in a run directory. The kernel lets go of it when the process ends, however it ends.
type lock struct{ file *os.File }

func lockPath(runDir string) string { return filepath.Join(runDir, "server.lock") }

func takeLock(runDir string) (*lock, error) {
	f, err := os.OpenFile(lockPath(runDir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock run directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if pid, _ := Running(runDir); pid > 0 {
			return nil, errkind.New(errkind.Exists, "a cuppa server is running already in %s (pid %d); stop it with: cuppa server stop", runDir, pid)
		}
		return nil, errkind.New(errkind.Exists, "another process holds %s: %w", f.Name(), err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock run directory: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock run directory: %w", err)
	}
	return &lock{f}, nil
}

func (l *lock) release() { l.file.Close() }

// Running returns the pid of the server of a run directory, or 0 if none runs.
func Running(runDir string) (int, error) {
	f, err := os.Open(lockPath(runDir))
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return 0, nil
	}
	raw := make([]byte, 32)
	n, _ := f.ReadAt(raw, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw[:n])))
	if err != nil {
		return 0, errkind.New(errkind.Unavailable, "a server is starting in %s", runDir)
	}
	return pid, nil
}

// Stop asks the server of a run directory to end and waits until it has. No server is no error.
func Stop(ctx context.Context, runDir string) error {
	pid, err := Running(runDir)
	if err != nil || pid == 0 {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("stop server (pid %d): %w", pid, err)
	}
	for {
		if now, _ := Running(runDir); now != pid {
			return nil
		}
		select {
		case <-ctx.Done():
			return errkind.New(errkind.Unavailable, "the server (pid %d) has not stopped yet: %w", pid, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
