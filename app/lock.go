package app

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

// lock makes sure that one server at a time works in a directory. The kernel lets go of it when the process ends, however it ends.
type lock struct{ file *os.File }

func lockPath(dir string) string { return filepath.Join(dir, "server.lock") }

// takeLocks takes the run directory and the data directory: whoever shares only the second would find out much later, and in the middle.
func takeLocks(config Config) (release func(), err error) {
	run, err := takeLock(config.RunDir)
	if err != nil {
		return nil, directories(config)[1].taken(err)
	}
	data, err := takeLock(config.DataDir)
	if err != nil {
		run.release()
		return nil, directories(config)[0].taken(err)
	}
	return func() { data.release(); run.release() }, nil
}

// taken says who has the directory, if it is that.
func (d directory) taken(err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return d.refuse(err)
	}
	by := "another process"
	if pid, _ := Running(d.path); pid > 0 {
		by = fmt.Sprintf("a cuppa server (pid %d)", pid)
	}
	return errkind.New(errkind.Exists, "the %s %s is in use by %s; stop it with `cuppa server stop`, or choose another with %s", d.what, d.path, by, d.flag)
}

func takeLock(dir string) (*lock, error) {
	f, err := os.OpenFile(lockPath(dir), os.O_RDWR|os.O_CREATE, 0o600)
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
	return &lock{f}, nil
}

func (l *lock) release() { l.file.Close() }

// Running returns the pid of the server of a run directory (or of a data directory), or 0 if none runs.
func Running(dir string) (int, error) {
	f, err := os.Open(lockPath(dir))
	if os.IsNotExist(err) {
		return 0, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return 0, errkind.New(errkind.Denied, "%s may not be read by this user: use sudo", lockPath(dir))
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
