package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Links says what becomes of symbolic links on the way to a name.
type Links int

// The ways of taking links. None of them ever leads out of the root.
const (
	Refused  Links = iota // a link is an error
	Beneath               // a link may lead to another place below the root
	AsChroot              // a link is taken as by a process for which the root is "/"
)

// withinMount is how a walk takes one step that neither leaves its mount nor follows a link.
const withinMount = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

func (l Links) resolve() uint64 {
	switch l {
	case Beneath:
		return unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS
	case AsChroot:
		return unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	default:
		return unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS
	}
}

// Root opens things below one folder, which others may be changing. The kernel does the walking (openat2, Linux 5.6), so that there is
// no moment between looking and opening.
type Root struct {
	path string
	fd   int
}

// OpenRoot opens a folder as a root. Links in path itself are followed.
func OpenRoot(path string) (*Root, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &Root{path: path, fd: fd}, nil
}

// Close closes the root. What was opened below it stays open.
func (r *Root) Close() error { return unix.Close(r.fd) }

// Handle returns a handle of a folder, a regular file or a socket: it can be bind-mounted and examined, but not read. Getting one
// never blocks and has no effect on what it is of. A named pipe and a device are refused.
func (r *Root) Handle(name string, links Links) (*os.File, error) {
	if name == "" {
		name = "."
	}
	fd, err := openat2(r.fd, name, unix.O_PATH, links.resolve())
	if err != nil {
		return nil, r.explain(name, links, err)
	}
	file := os.NewFile(uintptr(fd), filepath.Join(r.path, name))
	info, err := file.Stat()
	if err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeDevice) != 0 {
		err = errkind.New(errkind.Invalid, "open %q below %s: it is a %s", name, r.path, kindOf(info.Mode()))
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// OpenFile opens a regular file for reading.
func (r *Root) OpenFile(name string, links Links) (*os.File, error) {
	return r.reopen(name, links, os.FileMode.IsRegular, "regular file", unix.O_RDONLY)
}

// OpenDir opens a folder for reading.
func (r *Root) OpenDir(name string, links Links) (*os.File, error) {
	return r.reopen(name, links, os.FileMode.IsDir, "folder", unix.O_RDONLY|unix.O_DIRECTORY)
}

// reopen opens what a handle stands for, once it is known to be of the right kind.
func (r *Root) reopen(name string, links Links, right func(os.FileMode) bool, kind string, flags int) (*os.File, error) {
	handle, err := r.Handle(name, links)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	info, err := handle.Stat()
	if err != nil {
		return nil, err
	}
	if !right(info.Mode()) {
		return nil, errkind.New(errkind.Invalid, "open %q below %s: it is a %s, not a %s", name, r.path, kindOf(info.Mode()), kind)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", handle.Fd()), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: handle.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), handle.Name()), nil
}

// MkdirAll makes a folder and those that lead to it, and returns a handle of it. Folders that it makes get the mode whatever the
// process's mask is; what exists stays as it is.
func (r *Root) MkdirAll(name string, links Links, mode os.FileMode) (*os.File, error) {
	made := "."
	for part := range strings.SplitSeq(filepath.Clean(name), "/") {
		parent, err := r.Handle(made, links)
		if err != nil {
			return nil, err
		}
		made = filepath.Join(made, part)
		err = mkdirAt(parent, part, mode)
		_ = parent.Close()
		if err != nil {
			return nil, &os.PathError{Op: "make folder", Path: filepath.Join(r.path, made), Err: err}
		}
	}
	handle, err := r.Handle(name, links)
	if errors.Is(err, errkind.NotFound) {
		return nil, errkind.New(errkind.Invalid, "make folder %q below %s: a symbolic link there leads to nothing", name, r.path)
	}
	return handle, err
}

// Enter opens an entry of an open folder that is a folder itself, for reading. A link, and what is mounted there, is refused.
func Enter(parent *os.File, name string) (*os.File, error) {
	path := filepath.Join(parent.Name(), name)
	if name == "" || name == ".." || strings.Contains(name, "/") {
		return nil, errkind.New(errkind.Invalid, "open %s: %q is no entry of a folder", path, name)
	}
	fd, err := openat2(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, withinMount)
	switch err {
	case nil:
		return os.NewFile(uintptr(fd), path), nil
	case unix.EXDEV:
		return nil, errkind.New(errkind.Invalid, "open %s: something is mounted there", path)
	case unix.ENOTDIR, unix.ELOOP:
		return nil, errkind.New(errkind.Invalid, "open %s: it is no folder", path)
	default:
		return nil, &os.PathError{Op: "open", Path: path, Err: explain(err)}
	}
}

func mkdirAt(parent *os.File, name string, mode os.FileMode) error {
	err := unix.Mkdirat(int(parent.Fd()), name, 0o700)
	if err == unix.EEXIST {
		return nil
	}
	if err != nil {
		return err
	}
	fd, err := openat2(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, withinMount)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	bits := uint32(mode.Perm())
	if mode&os.ModeSetgid != 0 {
		bits |= unix.S_ISGID
	}
	return unix.Fchmod(fd, bits)
}

// openat2 opens a name as the kernel's call of that name does; a walk that a rename elsewhere has disturbed is begun again.
func openat2(dir int, name string, flags int, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	const patience = 1000
	for try := 0; ; try++ {
		fd, err := unix.Openat2(dir, name, &how)
		if (err == unix.EAGAIN || err == unix.EINTR) && try < patience {
			continue
		}
		return fd, err
	}
}

// explain says why a name could not be opened, in words.
func (r *Root) explain(name string, links Links, err error) error {
	switch {
	case err == unix.EXDEV:
		return errkind.New(errkind.Invalid, "open %q below %s: it leads out of there", name, r.path)
	case err == unix.ELOOP && links == Refused:
		return errkind.New(errkind.Invalid, "open %q below %s: a symbolic link is in the way", name, r.path)
	case err == unix.ELOOP:
		return errkind.New(errkind.Invalid, "open %q below %s: symbolic links lead in a circle, or too far", name, r.path)
	case err == unix.ENOENT:
		return errkind.New(errkind.NotFound, "open %q below %s: %w", name, r.path, err)
	default:
		return fmt.Errorf("open %q below %s: %w", name, r.path, explain(err))
	}
}

// explain names what to do about a kernel that lacks the call by which everything here is safe.
func explain(err error) error {
	if err == unix.ENOSYS {
		return errkind.New(errkind.Precondition, "this kernel has no openat2 call, without which links and mounts cannot be told apart safely: use Linux 5.6 or later: %w", err)
	}
	return err
}

func kindOf(mode os.FileMode) string {
	switch {
	case mode.IsDir():
		return "folder"
	case mode&os.ModeNamedPipe != 0:
		return "named pipe"
	case mode&os.ModeSocket != 0:
		return "socket"
	case mode&os.ModeCharDevice != 0:
		return "character device"
	case mode&os.ModeDevice != 0:
		return "block device"
	case mode&os.ModeSymlink != 0:
		return "symbolic link"
	default:
		return "regular file"
	}
}
