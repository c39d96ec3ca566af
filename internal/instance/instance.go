// Package instance tells which server works in a directory, and makes sure that it is one at a time.
//
// A server holds a lock in its run directory and another in its data directory; the kernel lets go of them when the process ends, however it
// ends. The package knows nothing else of servers, so that a command that only asks stays small. Start with Running.
package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Lock is a directory taken.
type Lock struct{ file *os.File }

// LockName is the name of the file with the lock.
const LockName = "server.lock"

func path(dir string) string { return filepath.Join(dir, LockName) }

// Take takes a directory. If another process has it, the error is EWOULDBLOCK.
func Take(dir string) (*Lock, error) {
	f, err := os.OpenFile(path(dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Lock{f}, nil
}

// Release gives the directory back.
func (l *Lock) Release() { l.file.Close() }

// Running returns the pid of the server of a run directory (or of a data directory), or 0 if none runs.
func Running(dir string) (int, error) {
	f, err := os.Open(path(dir))
	if os.IsNotExist(err) {
		return 0, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return 0, errkind.New(errkind.Denied, "%s may not be read by this user: use sudo", path(dir))
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return 0, nil
	}
	raw := make([]byte, 32)
	n, _ := f.ReadAt(raw, 0) // a lock without a number is one that is being taken
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw[:n])))
	if err != nil {
		return 0, errkind.New(errkind.Unavailable, "a server is starting in %s", dir)
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
