package cri

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// findDevices looks the wished devices up on the host; privileged containers get all there are.
func findDevices(wishes []*runtimeapi.Device, privileged bool) ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	if privileged {
		all, err := devicesBelow("/dev", "/dev")
		if err != nil {
			return nil, err
		}
		out = all
	}
	for _, w := range wishes {
		if w.ContainerPath == "" {
			w.ContainerPath = w.HostPath
		}
		path, err := filepath.EvalSymlinks(w.HostPath)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "device %s: %w", w.HostPath, err)
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			found, err := devicesBelow(path, w.ContainerPath)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
			continue
		}
		d, ok, err := device(path, w.ContainerPath)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, errkind.New(errkind.Invalid, "%s is not a device", w.HostPath)
		}
		out = append(out, d)
	}
	return out, nil
}

// devicesBelow finds the devices in a folder, but not terminals, shared memory and the like, which each container has its own of.
func devicesBelow(dir, inside string) ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		switch path {
		case "/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/.lxc":
			return filepath.SkipDir
		case "/dev/console", "/dev/ptmx", "/dev/tty":
			return nil
		}
		if e.Type()&fs.ModeDevice == 0 {
			return nil
		}
		d, ok, err := device(path, inside+strings.TrimPrefix(path, dir))
		if errors.Is(err, fs.ErrNotExist) || !ok {
			return nil
		}
		if err == nil {
			out = append(out, d)
		}
		return err
	})
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "devices in %s: %w", dir, err)
	}
	return out, nil
}

func device(path, inside string) (specs.LinuxDevice, bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return specs.LinuxDevice{}, false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	kind := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	default:
		return specs.LinuxDevice{}, false, nil
	}
	mode := os.FileMode(st.Mode & 0o777)
	uid, gid := st.Uid, st.Gid
	return specs.LinuxDevice{Path: inside, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &uid, GID: &gid}, true, nil
}
