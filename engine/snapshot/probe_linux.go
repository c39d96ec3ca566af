package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/continuity/fs"
	"golang.org/x/sys/unix"
)

// probeOverlay tries a real overlay mount below dir, and whether it may be volatile. A mount that is not waits, when it is unmounted, until
// everything that any process wrote to that disk has arrived there: this alone would be most of the time it takes to open a store.
func probeOverlay(dir string) (volatile bool, _ error) {
	probe, err := os.MkdirTemp(dir, ".probe")
	if err != nil {
		return false, fmt.Errorf("probe overlayfs: %w", err)
	}
	defer os.RemoveAll(probe)
	named, err := fs.SupportsDType(probe)
	if err != nil {
		return false, fmt.Errorf("probe overlayfs: %w", err)
	}
	if !named {
		return false, fmt.Errorf("the file system at %s does not tell the types of directory entries (xfs: format it with ftype=1)", dir)
	}
	if mountVolatile(probe) == nil {
		return true, nil
	}
	if err := overlayutils.Supported(probe); err != nil {
		var number unix.Errno
		if errors.As(err, &number) {
			err = number // around it are the names of folders that are gone by now
		}
		return false, fmt.Errorf("the kernel refuses to mount it on %s: %w", dir, err)
	}
	return false, nil
}

// mountVolatile mounts and unmounts one overlay.
func mountVolatile(dir string) error {
	for _, name := range []string{"a", "b", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	options := fmt.Sprintf("lowerdir=%s:%s,upperdir=%s,workdir=%s,volatile", at("a"), at("b"), at("upper"), at("work"))
	if err := unix.Mount("overlay", at("merged"), "overlay", 0, options); err != nil {
		return err
	}
	return unix.Unmount(at("merged"), 0)
}

// forgetVolatile lets a volatile overlay be mounted again: the kernel marks its work folder, since after a crash of the machine its content
// might be torn. Roots are not used again after such a crash.
func forgetVolatile(work string) error {
	return os.RemoveAll(filepath.Join(work, "work", "incompat", "volatile"))
}
