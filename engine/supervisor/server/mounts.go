//go:build cgo

package server

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/mount"
)

// mountFlags translates the mount options that are flags of the system call.
func mountFlags() map[string]uintptr {
	return map[string]uintptr{
		"ro": unix.MS_RDONLY, "rw": 0, "bind": unix.MS_BIND, "rbind": unix.MS_BIND | unix.MS_REC, "nosuid": unix.MS_NOSUID,
		"nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "noatime": unix.MS_NOATIME, "relatime": unix.MS_RELATIME, "suid": 0,
		"dev": 0, "exec": 0,
	}
}

// splitOptions separates flags from the data of a file system.
func splitOptions(options []string) (flags uintptr, data []string) {
	table := mountFlags()
	for _, o := range options {
		if f, ok := table[o]; ok {
			flags |= f
		} else {
			data = append(data, o)
		}
	}
	return flags, data
}

// mountAll makes a container's root at target; after a failure nothing remains mounted.
func mountAll(target string, mounts []container.Mount) error {
	for _, m := range mounts {
		if err := mountOne(target, m); err != nil {
			return errors.Join(fmt.Errorf("mount root file system: %w", err), unmountAll(target))
		}
	}
	return nil
}

func mountOne(target string, m container.Mount) error {
	flags, data := splitOptions(m.Options)
	if flags&unix.MS_BIND != 0 {
		if err := unix.Mount(m.Source, target, "", flags, ""); err != nil {
			return &os.PathError{Op: "bind", Path: m.Source, Err: err}
		}
		if rest := flags &^ (unix.MS_BIND | unix.MS_REC); rest != 0 { // a bind mount takes its flags in a second step
			if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|rest, ""); err != nil {
				return &os.PathError{Op: "remount", Path: target, Err: err}
			}
		}
		return nil
	}
	joined := strings.Join(data, ",")
	if len(joined) < os.Getpagesize() {
		if err := unix.Mount(m.Source, target, m.Type, flags, joined); err != nil {
			return &os.PathError{Op: "mount " + m.Type, Path: target, Err: err}
		}
		return nil
	}
	return mountLong(target, m, flags, data)
}

// mountLong is for options that do not fit into one page: images with very many layers. Layers are given one by one, so
// none of the calls is limited.
func mountLong(target string, m container.Mount, flags uintptr, data []string) error {
	fs, err := unix.Fsopen(m.Type, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return &os.PathError{Op: "open file system " + m.Type, Path: target, Err: err}
	}
	defer unix.Close(fs)
	set := func(key, value string) error {
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return &os.PathError{Op: "set " + key, Path: target, Err: err}
		}
		return nil
	}
	if err := set("source", m.Source); err != nil {
		return err
	}
	for _, o := range data {
		key, value, isPair := strings.Cut(o, "=")
		switch {
		case !isPair:
			if err := unix.FsconfigSetFlag(fs, key); err != nil {
				return &os.PathError{Op: "set " + key, Path: target, Err: err}
			}
		case key == "lowerdir":
			for layer := range strings.SplitSeq(value, ":") {
				if err := set("lowerdir+", layer); err != nil {
					return err
				}
			}
		default:
			if err := set(key, value); err != nil {
				return err
			}
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return &os.PathError{Op: "create file system " + m.Type, Path: target, Err: err}
	}
	attr := 0
	if flags&unix.MS_RDONLY != 0 {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return &os.PathError{Op: "mount " + m.Type, Path: target, Err: err}
	}
	defer unix.Close(mnt)
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "move mount", Path: target, Err: err}
	}
	return nil
}

// unmountAll removes every mount on target; a target that is gone or not mounted is fine. One that is in use, by a process that a
// container left outside, goes with its last user.
func unmountAll(target string) error {
	_, err := mount.Unmount(target)
	return err
}
