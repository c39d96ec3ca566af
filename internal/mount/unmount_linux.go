package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Below lists what is mounted at dir or below it, each mount before the one that it sits on.
func Below(dir string) ([]Point, error) {
	real, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(real); errors.Is(err, os.ErrNotExist) {
		return nil, nil // what does not exist holds no mount
	}
	table, err := Table()
	if err != nil {
		return nil, err
	}
	return below(table, real), nil
}

// resolve gives dir the name that it has in the mount table, where links are resolved.
func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", dir, err)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if errors.Is(err, os.ErrNotExist) {
		return abs, nil
	}
	if err != nil {
		return "", fmt.Errorf("find %s: %w", dir, err)
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

// IsPoint tells whether something is mounted at path itself.
func IsPoint(path string) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	if err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	if err != nil && err != unix.ENOSYS {
		return false, &os.PathError{Op: "examine", Path: path, Err: err}
	}
	real, err := resolve(path) // a kernel before 5.8 does not tell by statx
	if err != nil {
		return false, err
	}
	table, err := Table()
	if err != nil {
		return false, err
	}
	for _, p := range table {
		if p.Path == real {
			return true, nil
		}
	}
	return false, nil
}

// UnmountBelow unmounts everything below dir, but not dir itself, the innermost first. A mount that is in use cannot be unmounted; it is
// detached instead, which takes it out of sight at once and ends it with its last user. Those are returned in busy, for the caller to say.
func UnmountBelow(dir string) (busy []string, err error) {
	real, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	points, err := Below(real)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, p := range points {
		if p.Path == real {
			continue
		}
		detached, err := unmountBeneath(real, p.Path)
		if err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p.Path, err))
		}
		if detached {
			busy = append(busy, p.Path)
		}
	}
	return busy, errors.Join(errs...)
}

// Unmount unmounts all that is mounted at one path, and nothing below others. A path that is gone or not mounted is fine.
func Unmount(path string) (busy bool, err error) {
	for {
		detached, err := unmountAt(path)
		if err == unix.EINVAL || err == unix.ENOENT {
			return busy, nil
		}
		if err != nil {
			return busy, fmt.Errorf("unmount %s: %w", path, err)
		}
		busy = busy || detached
	}
}

// unmountBeneath unmounts a point below dir. The way from dir to the point is walked without following links: whoever may write there
// could lead us to a mount of the machine's own otherwise.
func unmountBeneath(dir, point string) (busy bool, err error) {
	rel, err := filepath.Rel(dir, filepath.Dir(point))
	if err != nil {
		return false, err
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	parent, err := openat2(root, rel, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	unix.Close(root) // an open descriptor would keep the mount at dir busy
	switch err {
	case nil:
		defer unix.Close(parent)
		busy, err = unmountAt(fmt.Sprintf("/proc/self/fd/%d/%s", parent, filepath.Base(point)))
	case unix.ENOSYS:
		busy, err = unmountAt(point)
	}
	if err == unix.EINVAL || err == unix.ENOENT {
		return false, nil // it went meanwhile
	}
	return busy, err
}

func unmountAt(path string) (busy bool, err error) {
	err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if err != unix.EBUSY {
		return false, err
	}
	return true, unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
}

// Bind mounts an open file or folder, with what is mounted in it, at target, which exists. A descriptor, unlike a path, leaves no
// moment in which somebody could put a link in its place.
func Bind(file *os.File, target string) error {
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s at %s: %w", file.Name(), target, err)
	}
	return nil
}
