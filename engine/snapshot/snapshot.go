// Package snapshot opens the layered file systems that images and containers live on, and makes the writable roots of containers.
//
// It decides between overlayfs and plain copies, and says so; it knows nothing of images or registries: the layers it stacks
// are named by the chain of their contents. Start with Open, then Roots.
package snapshot

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// The drivers, by the names under which their layers are recorded on disk.
const (
	Overlay = "overlayfs"
	Native  = "native"
)

// Config says where layers are kept and how.
type Config struct {
	Dir    string       // a folder per driver is made below it
	Driver string       // Overlay or Native; "": Overlay where the kernel and the disk allow it, else Native
	Logger *slog.Logger // nil: slog.Default()
}

// Driver is an open snapshotter and its name.
type Driver struct {
	Name string
	Dir  string
	// Volatile says that the kernel knows overlayfs mounts that never wait for the disk.
	Volatile bool
	snapshots.Snapshotter
}

// Open opens the layer store. Without the right to mount it is Denied; a driver that was asked for, or whose layers are already
// in Dir, and that cannot be used any more is Unavailable.
func Open(cfg Config) (*Driver, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if os.Geteuid() != 0 {
		return nil, errkind.New(errkind.Denied, "open layer store %s: the container engine mounts file systems and must run as root", cfg.Dir)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, errkind.New(errkind.Unavailable, "open layer store: %w", err)
	}
	facts := facts{asked: cfg.Driver, hasOverlay: exists(filepath.Join(cfg.Dir, Overlay, "metadata.db")), hasNative: exists(filepath.Join(cfg.Dir, Native, "metadata.db"))}
	volatile := false
	if facts.asked != Native {
		volatile, facts.overlayErr = probeOverlay(cfg.Dir)
	}
	choice, err := choose(facts)
	if err != nil {
		return nil, errkind.New(errkind.Of(err), "open layer store %s: %w", cfg.Dir, err)
	}
	if choice.why != "" {
		cfg.Logger.Warn("image layers are copied in full for each container", "reason", choice.why, "dir", cfg.Dir)
	}
	dir := filepath.Join(cfg.Dir, choice.driver)
	sn, err := openers()[choice.driver](dir)
	if err != nil {
		return nil, errkind.New(errkind.Unavailable, "open layer store %s: %w", dir, err)
	}
	return &Driver{Name: choice.driver, Dir: dir, Volatile: volatile && choice.driver == Overlay, Snapshotter: sn}, nil
}

// openers is the table of drivers. Overlay removes asynchronously: Remove then only renames, and the slow part of a removal happens in
// Cleanup, which the background collection calls without holding a lock.
func openers() map[string]func(string) (snapshots.Snapshotter, error) {
	return map[string]func(string) (snapshots.Snapshotter, error){
		Overlay: func(dir string) (snapshots.Snapshotter, error) {
			return overlay.NewSnapshotter(dir, overlay.AsynchronousRemove)
		},
		Native: func(dir string) (snapshots.Snapshotter, error) { return native.NewSnapshotter(dir) },
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
