// Package netns opens, makes and enters network namespaces.
//
// It is not a pool and configures nothing inside a namespace. All of Cuppa's network parts take a *NS, nil meaning the process's
// own namespace, so that several nodes can live in several namespaces of one machine. Start with NS.Do.
package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// NS is an open network namespace; it lives at least as long as this handle. The nil NS is the process's own namespace.
type NS struct{ file *os.File }

// Open opens the namespace that a path (a bind mount, or a link under /proc) refers to.
func Open(path string) (*NS, error) {
	f, err := os.Open(path)
	if err != nil {
		if os.IsNotExist(err) {
			return nil, errkind.New(errkind.NotFound, "open network namespace: %w", err)
		}
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return &NS{file: f}, nil
}

// New makes a namespace that has no name: it ends with its last handle, socket or process.
func New() (*NS, error) {
	var made *NS
	err := onFreshThread(func() error {
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		made = &NS{file: f}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	return made, nil
}

// Create makes a namespace and holds it by a bind mount at path, which must not exist yet.
func Create(path string) (*NS, error) {
	made, err := New()
	if err != nil {
		return nil, err
	}
	if err := bind(made, path); err != nil {
		made.Close()
		return nil, fmt.Errorf("hold network namespace at %s: %w", path, err)
	}
	return made, nil
}

func bind(ns *NS, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.FD()), path, "", unix.MS_BIND, ""); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}

// Remove lets go of the bind mount at path and removes the file. The namespace itself ends when nothing else holds it.
// A path that is gone already is no error.
func Remove(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmount network namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove network namespace file: %w", err)
	}
	return nil
}

// IsNamespace says whether path is a live network namespace and not just the file it was mounted on.
func IsNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// FD is the file descriptor of the namespace, or -1 for the process's own.
func (n *NS) FD() int {
	if n == nil {
		return -1
	}
	return int(n.file.Fd())
}

// Close gives up the handle.
func (n *NS) Close() error {
	if n == nil {
		return nil
	}
	return n.file.Close()
}

// Do runs fn with the calling goroutine inside the namespace. Goroutines that fn starts are not inside.
// Sockets made by fn stay in the namespace for good.
func (n *NS) Do(fn func() error) error {
	if n == nil {
		return fn()
	}
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("remember network namespace: %w", err)
	}
	defer back.Close()
	if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer comeBack(back)
	return fn()
}

// comeBack returns the thread to its namespace. If that fails, the thread stays locked and so dies with its goroutine, rather
// than serving others in a foreign namespace.
func comeBack(to *os.File) {
	if unix.Setns(int(to.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
}

// onFreshThread runs fn on a thread that has left for a new network namespace, and returns the thread afterwards.
func onFreshThread(fn func() error) error {
	runtime.LockOSThread()
	back, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer back.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		if err == unix.EPERM {
			return errkind.New(errkind.Denied, "unshare: %w (root, or CAP_SYS_ADMIN, is needed)", err)
		}
		return err
	}
	defer comeBack(back)
	return fn()
}
