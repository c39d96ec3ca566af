package volume

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountTmpfs mounts memory at dir, unless something is mounted there already. Size 0 leaves the kernel's default, half of all memory.
func mountTmpfs(dir string, size int64) error {
	mounted, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	if slices.Contains(mounted, dir) {
		return nil
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

// bindFD mounts an open file or directory at target, which exists. Mounting the descriptor rather than a path leaves no
// moment in which a container could swap the path for a symbolic link.
func bindFD(fd uintptr, target string) error {
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind mount to %s: %w", target, err)
	}
	return nil
}

// unmountBelow unmounts everything at or below dir, innermost first.
func unmountBelow(dir string) error {
	mounted, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	slices.Reverse(mounted)
	for _, point := range mounted {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// mountsBelow lists mount points at or below dir in the order they were made.
func mountsBelow(dir string) ([]string, error) {
	if _, err := os.Lstat(dir); err != nil {
		return nil, nil // what does not exist holds no mount
	}
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer file.Close()
	var out []string
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if point := unescape.Replace(fields[4]); point == dir || strings.HasPrefix(point, dir+"/") {
			out = append(out, point)
		}
	}
	return out, lines.Err()
}

// anyMounted tells whether another file system is mounted at an entry of dir.
func anyMounted(dir string) bool {
	var parent unix.Stat_t
	if unix.Lstat(dir, &parent) != nil {
		return false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return true // let the mount table say
	}
	for _, entry := range entries {
		var child unix.Stat_t
		if unix.Lstat(filepath.Join(dir, entry.Name()), &child) != nil || child.Dev != parent.Dev {
			return true
		}
	}
	return false
}
