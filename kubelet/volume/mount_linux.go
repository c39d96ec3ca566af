package volume

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/mount"
)

// mountTmpfs mounts memory at dir, unless something is mounted there already. Size 0 leaves the kernel's default, half of all memory.
func mountTmpfs(dir string, size int64) error {
	mounted, err := mount.IsPoint(dir)
	if err != nil || mounted {
		return err
	}
	options := "mode=0777"
	if size > 0 {
		options += fmt.Sprintf(",size=%d", size)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount tmpfs at %s: %w", dir, err)
	}
	return nil
}
