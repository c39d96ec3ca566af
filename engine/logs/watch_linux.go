package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// watcher wakes a follower when something happens in the log's folder.
type watcher struct{ file *os.File }

func watch(path string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch log: %w", err)
	}
	// The folder reports changes of the files in it, those that begin later included.
	const mask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), mask); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch log: %w", err)
	}
	return &watcher{file: os.NewFile(uintptr(fd), "inotify")}, nil
}

// Wait blocks until a change since the last call, ctx's end (an error) or the closing of ended.
func (w *watcher) Wait(ctx context.Context, ended <-chan struct{}) error {
	done := make(chan error, 1)
	go func() {
		var buf [4096]byte
		_, err := w.file.Read(buf[:])
		done <- err
	}()
	interrupt := func() {
		w.file.SetReadDeadline(time.Unix(1, 0))
		<-done
		w.file.SetReadDeadline(time.Time{})
	}
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("watch log: %w", err)
		}
		return nil
	case <-ctx.Done():
		interrupt()
		return ctx.Err()
	case <-ended:
		interrupt()
		return nil
	}
}

func (w *watcher) Close() error { return w.file.Close() }
