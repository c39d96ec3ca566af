package copyup

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/mount"
)

// copier copies one tree.
type copier struct {
	stage *os.File            // where the tree goes
	links map[volumeID]string // where a file that has several names was copied to first, below stage
	step  func(string) error
	files int
}

// folder copies what an open folder holds into another, and what the folder itself is like at last: a mode may forbid to write to it,
// and what is written changes its time.
func (c *copier) folder(from, to *os.File, rel string) error {
	names, err := from.Readdirnames(-1)
	if err != nil {
		return &os.PathError{Op: "read", Path: from.Name(), Err: err}
	}
	for _, name := range names {
		if err := c.step("copying " + path.Join(rel, name)); err != nil {
			return err
		}
		if err := c.entry(from, to, name, path.Join(rel, name)); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: from.Name(), Err: err}
	}
	return dress(from, to, &st)
}

func (c *copier) entry(from, to *os.File, name, rel string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: filepath.Join(from.Name(), name), Err: err}
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		err = c.subfolder(from, to, name, rel)
	case unix.S_IFREG:
		err = c.regular(from, to, name, rel, &st)
	default:
		err = c.special(from, to, name, &st)
	}
	if err != nil && !errors.Is(err, errStopped) {
		var placed *os.PathError
		if !errors.As(err, &placed) {
			err = &os.PathError{Op: "copy", Path: "/" + rel, Err: err}
		}
	}
	return err
}

func (c *copier) subfolder(from, to *os.File, name, rel string) error {
	source, err := mount.Enter(from, name)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return err
	}
	made, err := mount.Enter(to, name)
	if err != nil {
		return err
	}
	defer made.Close()
	return c.folder(source, made, rel)
}

func (c *copier) regular(from, to *os.File, name, rel string, st *unix.Stat_t) error {
	c.files++
	id := volumeID{st.Dev, st.Ino}
	if first, ok := c.links[id]; ok && c.link(first, to, name) == nil {
		return nil
	}
	source, err := open(from, name, unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer source.Close()
	made, err := open(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(made, source)
	if err == nil {
		err = dress(source, made, st)
	}
	if st.Nlink > 1 {
		c.links[id] = rel
	}
	return errors.Join(err, made.Close())
}

// link gives a file that was copied already its further name.
func (c *copier) link(first string, to *os.File, name string) error {
	root, err := mount.OpenRoot("/proc/self/fd/" + strconv.Itoa(int(c.stage.Fd())))
	if err != nil {
		return err
	}
	defer root.Close()
	handle, err := root.Handle(first, mount.Refused)
	if err != nil {
		return err
	}
	defer handle.Close()
	return unix.Linkat(int(handle.Fd()), "", int(to.Fd()), name, unix.AT_EMPTY_PATH)
}

// special copies a symbolic link, a named pipe, a socket or a device.
func (c *copier) special(from, to *os.File, name string, st *unix.Stat_t) error {
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		buf := make([]byte, unix.PathMax)
		var n int
		if n, err = unix.Readlinkat(int(from.Fd()), name, buf); err == nil {
			err = unix.Symlinkat(string(buf[:n]), int(to.Fd()), name)
		}
	} else {
		err = unix.Mknodat(int(to.Fd()), name, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	source, err := open(from, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer source.Close()
	made, err := open(to, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer made.Close()
	return dress(source, made, st)
}

func open(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

// dress gives an open file the owner, attributes, mode and times of another. Attributes that its file system does not take are left
// out: a volume without them still works.
func dress(from, to *os.File, st *unix.Stat_t) error {
	fd := int(to.Fd())
	if err := unix.Fchownat(fd, "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "chown", Path: to.Name(), Err: err}
	}
	copyAttributes(from, to)
	self := "/proc/self/fd/" + strconv.Itoa(fd) // for calls that take no bare handle
	times := []unix.Timespec{st.Atim, st.Mtim}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK { // it has no mode, and its times can be set by a handle alone, or not at all
		_ = unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH)
		return nil
	}
	if err := unix.Chmod(self, st.Mode&0o7777); err != nil { // after chown, which takes away set-user-ID
		return &os.PathError{Op: "chmod", Path: to.Name(), Err: err}
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, self, times, 0); err != nil {
		return &os.PathError{Op: "set time", Path: to.Name(), Err: err}
	}
	return nil
}

func copyAttributes(from, to *os.File) {
	source, target := "/proc/self/fd/"+strconv.Itoa(int(from.Fd())), "/proc/self/fd/"+strconv.Itoa(int(to.Fd()))
	size, err := unix.Listxattr(source, nil)
	if err != nil || size <= 0 {
		return
	}
	names := make([]byte, size)
	if size, err = unix.Listxattr(source, names); err != nil {
		return
	}
	start := 0
	for i := range names[:size] {
		if names[i] != 0 {
			continue
		}
		name := string(names[start:i])
		start = i + 1
		value := make([]byte, 64<<10)
		if n, err := unix.Getxattr(source, name, value); err == nil {
			_ = unix.Setxattr(target, name, value[:n], 0)
		}
	}
}
