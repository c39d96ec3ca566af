package mount

import (
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Used is what a tree takes.
type Used struct {
	Bytes  int64 // on the disk, which may be less than the lengths of its files
	Inodes int64
}

// Usage adds up the tree at dir, without what is mounted in it. A file with several names counts once. Files may come and go
// meanwhile. NotFound if dir is not there.
func Usage(dir string) (Used, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return Used{}, errkind.New(errkind.NotFound, "measure %s: %w", dir, err)
	}
	if err != nil {
		return Used{}, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	m := meter{seen: map[[2]uint64]bool{}}
	var st unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st) == nil {
		m.add(&st)
	}
	err = m.folder(fd, dir, 0)
	return m.Used, err
}

type meter struct {
	Used
	seen map[[2]uint64]bool // files with several names
}

// deepest is where measuring gives up: each level keeps a descriptor open.
const deepest = 1000

func (m *meter) add(st *unix.Statx_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		key := [2]uint64{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}
		if m.seen[key] {
			return
		}
		m.seen[key] = true
	}
	m.Bytes += int64(st.Blocks) * 512
	m.Inodes++
}

// folder adds what an open folder holds, and closes it.
func (m *meter) folder(fd int, path string, depth int) error {
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if depth > deepest {
		return errkind.New(errkind.Invalid, "measure %s: more than %d folders lie in each other", path, deepest)
	}
	for {
		names, err := file.Readdirnames(256)
		for _, name := range names {
			if err := m.entry(fd, name, path, depth); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "read", Path: path, Err: err}
		}
	}
}

func (m *meter) entry(parent int, name, path string, depth int) error {
	var st unix.Statx_t
	if unix.Statx(parent, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, &st) != nil ||
		st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return nil // it went meanwhile, or it is something else that is mounted here
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		m.add(&st)
		return nil
	}
	fd, err := openat2(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, withinMount)
	if err == unix.ENOSYS {
		return explain(err)
	}
	if err != nil {
		return nil // a mount, or gone
	}
	m.add(&st)
	return m.folder(fd, filepath.Join(path, name), depth+1)
}
