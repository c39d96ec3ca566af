package mount

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// MountedError says that something is mounted at or below a folder that was to be removed. It is of the kind errkind.Precondition.
type MountedError struct {
	Path   string
	Points []string // some of the mount points
}

func (e *MountedError) Error() string {
	return fmt.Sprintf("remove %s: something is mounted at %s; unmount it first", e.Path, strings.Join(e.Points, ", "))
}

// Is makes it an error of its kind.
func (e *MountedError) Is(target error) bool { return target == errkind.Precondition }

// Clear unmounts and removes everything at and below dir. What was mounted keeps its contents. Mounts that are made meanwhile are
// taken away too. Those that were in use and had to be detached are returned, as by UnmountBelow.
//
// The mount table is read only if there is a mount: on a busy node it is long.
func Clear(dir string) (busy []string, err error) {
	const patience = 10
	for range patience {
		err = RemoveAll(dir)
		var mounted *MountedError
		if !errors.As(err, &mounted) {
			return busy, err
		}
		detached, err := UnmountBelow(dir)
		busy = append(busy, detached...)
		if err != nil {
			return busy, err
		}
		self, err := Unmount(dir)
		if self {
			busy = append(busy, dir)
		}
		if err != nil {
			return busy, err
		}
	}
	return busy, err
}

// RemoveAll removes path and everything below it, as os.RemoveAll does, but never anything that is mounted there: neither another file
// system nor another place of the same one. What is mounted stays, with the folders that lead to it, and the error is a MountedError.
// The kernel is asked at each step, so that a mount which appears meanwhile is safe too.
func RemoveAll(path string) error {
	path = filepath.Clean(path)
	name := filepath.Base(path)
	if name == "." || name == ".." || name == "/" {
		return errkind.New(errkind.Invalid, "remove %s: it names no entry of a folder", path)
	}
	parent, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(parent)
	r := remover{top: -1}
	r.entry(parent, name, path, 0)
	switch {
	case r.err != nil:
		return fmt.Errorf("remove %s: %w", path, r.err)
	case len(r.mounted) > 0:
		return &MountedError{Path: path, Points: r.mounted}
	default:
		return nil
	}
}

// remover is one removal under way.
type remover struct {
	top     int // the outermost folder
	lifted  int // folders that were moved to the top
	mounted []string
	err     error // the first failure
}

const (
	keptPoints = 4   // mount points that an error names
	maxDepth   = 64  // folders that are open at once
	maxPasses  = 100 // how often a folder is read again because somebody keeps adding to it
)

func (r *remover) fail(op, path string, err error) bool {
	if r.err == nil {
		r.err = &os.PathError{Op: op, Path: path, Err: err}
	}
	return false
}

func (r *remover) isMounted(path string) bool {
	if len(r.mounted) < keptPoints {
		r.mounted = append(r.mounted, path)
	}
	return false
}

// entry removes one entry of a folder and tells whether it is gone.
func (r *remover) entry(parent int, name, path string, depth int) bool {
	for range maxPasses {
		switch err := unix.Unlinkat(parent, name, 0); err {
		case nil, unix.ENOENT:
			return true
		case unix.EISDIR:
		case unix.EBUSY:
			return r.isMounted(path)
		default:
			return r.fail("remove", path, err)
		}
		if depth >= maxDepth && r.lift(parent, name) {
			return true
		}
		fd, err := openat2(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, withinMount)
		switch err {
		case nil:
			return r.folder(parent, fd, name, path, depth)
		case unix.ENOENT:
			return true
		case unix.EXDEV:
			return r.isMounted(path)
		case unix.ENOTDIR, unix.ELOOP: // somebody has put something else in its place
		default:
			return r.fail("open", path, explain(err))
		}
	}
	return r.fail("remove", path, unix.EAGAIN)
}

// folder empties an open folder and removes it.
func (r *remover) folder(parent, fd int, name, path string, depth int) bool {
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if r.top < 0 {
		r.top = fd
	}
	for pass := 0; pass < maxPasses; pass++ {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return r.fail("read", path, err)
		}
		lifted := r.lifted
		if !r.contents(file, path, depth) {
			return false
		}
		switch err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err {
		case nil, unix.ENOENT:
			return true
		case unix.ENOTEMPTY, unix.EEXIST: // somebody has added to it, or a folder was lifted into it
			if r.lifted > lifted {
				pass = 0
			}
		case unix.EBUSY:
			return r.isMounted(path)
		default:
			return r.fail("remove", path, err)
		}
	}
	return r.fail("remove", path, unix.ENOTEMPTY)
}

// contents removes what a folder holds and tells whether all of it is gone.
func (r *remover) contents(file *os.File, path string, depth int) bool {
	gone := true
	for {
		names, err := file.Readdirnames(256)
		for _, name := range names {
			gone = r.entry(int(file.Fd()), name, filepath.Join(path, name), depth+1) && gone
		}
		if err == io.EOF {
			return gone
		}
		if err != nil {
			return r.fail("read", path, err)
		}
	}
}

// lift moves a deep folder up to the outermost one, which will be read again: so no tree is too deep for our descriptors.
func (r *remover) lift(parent int, name string) bool {
	r.lifted++
	to := ".lifted-" + strconv.Itoa(r.lifted)
	return unix.Renameat2(parent, name, r.top, to, unix.RENAME_NOREPLACE) == nil
}
