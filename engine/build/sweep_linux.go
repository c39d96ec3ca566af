package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/cuppa-project/cuppa/engine/container"
	mounts "github.com/cuppa-project/cuppa/internal/mount"
)

// sweep removes the containers and mounts of steps that an earlier life of this program did not end.
func sweep(ctx context.Context, dir string, runtime container.Runtime) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := runtime.Delete(ctx, idPrefix+entry.Name(), true); err != nil {
			return fmt.Errorf("remove container of an interrupted build step: %w", err)
		}
		if err := mount.UnmountAll(filepath.Join(dir, entry.Name(), "rootfs"), syscall.MNT_DETACH); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("unmount root of an interrupted build step: %w", err)
		}
	}
	return os.RemoveAll(dir)
}

// mountPointPrefix begins the names of the folders that BuildKit mounts things on.
const mountPointPrefix = "buildkit-mount"

// sweepMounts unmounts what BuildKit had mounted in the folder for temporary files when it was killed: layers of the store in layerDir,
// which nobody else mounts there.
func sweepMounts(layerDir string) error {
	table, err := mounts.Table()
	if err != nil {
		return fmt.Errorf("look for mounts of interrupted builds: %w", err)
	}
	for _, point := range leftMounts(table, os.TempDir(), layerDir) {
		if _, err := mounts.Unmount(point); err != nil {
			return fmt.Errorf("unmount %s of an interrupted build: %w", point, err)
		}
		if err := os.Remove(point); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove mount point of an interrupted build: %w", err)
		}
	}
	return nil
}

// leftMounts picks from the mount table the mount points that BuildKit makes in temp and that show files of layerDir.
func leftMounts(table []mounts.Point, temp, layerDir string) []string {
	var points []string
	for _, p := range table {
		ours := filepath.Dir(p.Path) == filepath.Clean(temp) && strings.HasPrefix(filepath.Base(p.Path), mountPointPrefix)
		if ours && (strings.Contains(p.Super, layerDir) || strings.Contains(p.Root, layerDir) || strings.Contains(p.Source, layerDir)) {
			points = append(points, p.Path)
		}
	}
	return points
}
