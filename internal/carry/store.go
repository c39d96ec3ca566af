package carry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// store is a folder with unpacked programs: DIR/BUILD-BOOT/NAME, where BUILD is of the program's digest and BOOT names this run of the kernel.
//
// What is written is not synced to the disk, which would take a second. Instead it counts only until the machine starts again, for after a
// power cut nobody knows how much of it is there.
type store struct {
	dir   string
	name  string
	facts Facts
}

// find returns the path of the program, and unpacks it first if it is not there.
func (s store) find(unpack func(io.Writer) error) (string, error) {
	boot, err := bootID()
	if err != nil {
		return "", err
	}
	if s.dir, err = runnable(s.dir); err != nil {
		return "", err
	}
	folder := s.facts.Build() + "-" + boot
	path := filepath.Join(s.dir, folder, s.name)
	if s.whole(path) {
		return path, nil
	}
	unlock, err := s.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if s.whole(path) {
		return path, nil // somebody else was first
	}
	if err := s.clear(); err != nil {
		return "", err
	}
	return path, s.put(folder, unpack)
}

// whole is true of a program that may be run: ours alone to write, and of the right size. The folders above have been looked at.
func (s store) whole(path string) bool {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return false
	}
	return st.Mode == unix.S_IFREG|0o500 && int(st.Uid) == os.Geteuid() && st.Size == s.facts.Size
}

// lock keeps others from unpacking at the same time. The kernel lets go of it when the process ends, however it ends.
func (s store) lock() (func(), error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", s.dir, err)
	}
	return func() { f.Close() }, nil
}

// clear removes what other builds and other runs of the kernel left, and what was not finished. Programs that run are not harmed by it.
func (s store) clear() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// put unpacks into a folder beside and gives that its name when all is there.
func (s store) put(folder string, unpack func(io.Writer) error) (err error) {
	dir, err := os.MkdirTemp(s.dir, "new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir) // the next one to unpack tries again
		}
	}()
	f, err := os.OpenFile(filepath.Join(dir, s.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o500)
	if err != nil {
		return err
	}
	err = errors.Join(unpack(f), f.Chmod(0o500), f.Close())
	if err != nil {
		return fmt.Errorf("unpack %s into %s: %w", s.name, s.dir, err)
	}
	if !s.whole(f.Name()) {
		return errkind.New(errkind.Internal, "unpack %s into %s: it does not have the size noted", s.name, s.dir)
	}
	return os.Rename(dir, filepath.Join(s.dir, folder))
}

// runnable makes sure of a folder that is ours alone and from which programs can be run. It returns its path without symbolic links.
func runnable(dir string) (string, error) {
	real, err := MakePrivate(dir)
	if err != nil {
		return "", err
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(real, &fsys); err != nil {
		return "", fmt.Errorf("look at %s: %w", real, err)
	}
	if fsys.Flags&unix.ST_NOEXEC != 0 {
		return "", errkind.New(errkind.Precondition, "no program can be run from %s: it is mounted noexec", real)
	}
	return real, nil
}

// MakePrivate makes a folder, or makes sure of one that is there, so that it is Private. It returns its path without symbolic links.
func MakePrivate(dir string) (string, error) {
	if !filepath.IsAbs(dir) {
		return "", errkind.New(errkind.Invalid, "the folder %q has no absolute path", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return real, Private(real)
}

// Private makes sure that a folder is this user's alone, and that neither it nor one above is a link or can be changed by others.
func Private(dir string) error {
	me := uint32(os.Geteuid())
	for path := dir; ; path = filepath.Dir(path) {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("look at %s: %w", path, err)
		}
		if why := unsafe(&st, me, path == dir); why != "" {
			return errkind.New(errkind.Denied, "%s is no safe place for programs: %s", path, why)
		}
		if path == filepath.Dir(path) {
			return nil
		}
	}
}

// unsafe says why a folder is not to be trusted; "" if it is.
func unsafe(st *unix.Stat_t, me uint32, last bool) string {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return "it is no folder"
	case last && (st.Uid != me || st.Mode&0o077 != 0):
		return "others than its user may use it"
	case st.Uid != me && st.Uid != 0:
		return "it belongs to another user"
	case st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0:
		return "others may write there"
	}
	return ""
}

// bootID names this run of the kernel.
func bootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("find out which run of the kernel this is: %w", err)
	}
	id := bytes.ReplaceAll(bytes.TrimSpace(raw), []byte("-"), nil)
	if len(id) < 16 {
		return "", fs.ErrInvalid
	}
	return string(id[:16]), nil
}
