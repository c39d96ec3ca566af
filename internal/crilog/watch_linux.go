package crilog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watch tells when something happens in the directory of a log.
type watch struct {
	file *os.File
	news chan struct{}
	done chan struct{}
}

func newWatch(path string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch log: %w", err)
	}
	w := &watch{file: os.NewFile(uintptr(fd), "inotify"), news: make(chan struct{}, 1), done: make(chan struct{})}
	const mask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), mask); err != nil {
		_ = w.file.Close()
		return nil, fmt.Errorf("watch log directory: %w", err)
	}
	go w.pump()
	return w, nil
}

// pump turns the kernel's events into wake-ups; what they say does not matter, since the reader looks for itself.
func (w *watch) pump() {
	defer close(w.done)
	buffer := make([]byte, 4096)
	for {
		if _, err := w.file.Read(buffer); err != nil {
			return
		}
		select {
		case w.news <- struct{}{}:
		default:
		}
	}
}

// wait returns when something has happened, or the log's container has ended.
func (w *watch) wait(ctx context.Context, ended <-chan struct{}) error {
	select {
	case <-w.news:
		return nil
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the watch.
func (w *watch) Close() {
	_ = w.file.Close()
	<-w.done
}
