//go:build cgo

package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
)

// fillAll carries out a container's fills, in its mounted root.
func fillAll(root string, fills []container.Fill) error {
	for _, f := range fills {
		if err := fill(root, f); err != nil {
			return fmt.Errorf("fill volume from %s: %w", f.From, err)
		}
	}
	return nil
}

// fill copies a folder of the image into an empty folder, with owners, modes, times and attributes.
func fill(root string, f container.Fill) error {
	old, err := os.ReadDir(f.To)
	if err != nil {
		return err
	}
	if len(old) > 0 {
		return nil
	}
	dir, err := openIn(root, f.From, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil // the image has nothing there
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	from := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd()))
	links := map[[2]uint64]string{}
	return filepath.WalkDir(from+"/.", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return copyEntry(path, filepath.Join(f.To, rel), links)
	})
}

func copyEntry(from, to string, links map[[2]uint64]string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "stat", Path: from, Err: err}
	}
	inode := [2]uint64{st.Dev, st.Ino}
	if first, ok := links[inode]; ok {
		return os.Link(first, to)
	}
	mode := st.Mode & 0o7777
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err = os.Mkdir(to, 0o700); errors.Is(err, os.ErrExist) {
			err = nil
		}
	case unix.S_IFREG:
		err = copyFile(from, to)
	case unix.S_IFLNK:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = os.Symlink(target, to)
		}
	default:
		err = unix.Mknod(to, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		links[inode] = to
	}
	if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	copyAttributes(from, to)
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil
	}
	if err := unix.Chmod(to, mode); err != nil { // after chown, which takes away set-user-ID
		return &os.PathError{Op: "chmod", Path: to, Err: err}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// copyAttributes copies extended attributes that the target's file system takes; a volume without them still works.
func copyAttributes(from, to string) {
	var names [4096]byte
	n, err := unix.Llistxattr(from, names[:])
	if err != nil || n <= 0 {
		return
	}
	start := 0
	for i := range n {
		if names[i] != 0 {
			continue
		}
		name := string(names[start:i])
		start = i + 1
		var value [65536]byte
		if size, err := unix.Lgetxattr(from, name, value[:]); err == nil {
			unix.Lsetxattr(to, name, value[:size], 0)
		}
	}
}
