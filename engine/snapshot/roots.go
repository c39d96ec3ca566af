package snapshot

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/cuppa-project/cuppa/engine/container"
)

// The labels of a root. The first keeps it from being collected; the second names the image it was made from.
const (
	labelRoot  = "containerd.io/gc.root"
	labelImage = "cuppa.dev/root-of-image"
)

// Root is the writable file system of one container.
type Root struct {
	Key     string // as given to Prepare
	Image   string // ID of its image
	Created time.Time
}

// Roots makes and removes the writable roots of containers on a layer store. Their keys live in a name space of their own.
type Roots struct {
	Layers snapshots.Snapshotter
	// Volatile mounts roots so that neither a sync in the container nor its end waits for the disk. What a container must not lose is in
	// its volumes: after a crash of the machine it gets a new root in any case.
	Volatile bool
}

// IsRoot tells the roots of containers from other layers.
func IsRoot(info snapshots.Info) bool {
	_, ok := info.Labels[labelImage]
	return ok
}

func rootKey(key string) string { return "root/" + key }

// Prepare makes the root of key on top of the layer chain and returns how to mount it. A second call returns the same root.
func (r Roots) Prepare(ctx context.Context, key, chain, image string, labels map[string]string) ([]container.Mount, error) {
	all := map[string]string{labelRoot: time.Now().UTC().Format(time.RFC3339), labelImage: image}
	maps.Copy(all, labels)
	mounts, err := r.Layers.Prepare(ctx, rootKey(key), chain, snapshots.WithLabels(all))
	if errdefs.IsAlreadyExists(err) {
		mounts, err = r.Layers.Mounts(ctx, rootKey(key))
	}
	if err != nil {
		return nil, fmt.Errorf("prepare root %q: %w", key, err)
	}
	if r.Volatile {
		if err := makeVolatile(mounts); err != nil {
			return nil, fmt.Errorf("prepare root %q: %w", key, err)
		}
	}
	return convert(mounts), nil
}

// makeVolatile adds the option to an overlay mount. An image without layers gives a bind mount, which stays as it is.
func makeVolatile(mounts []mount.Mount) error {
	for i, m := range mounts {
		if m.Type != "overlay" {
			continue
		}
		for _, option := range m.Options {
			if work, ok := strings.CutPrefix(option, "workdir="); ok {
				if err := forgetVolatile(work); err != nil {
					return err
				}
				mounts[i].Options = append(slices.Clone(m.Options), "volatile")
			}
		}
	}
	return nil
}

// Remove lets a root go; its files are removed by the next collection. A root that does not exist is no error.
func (r Roots) Remove(ctx context.Context, key string) error {
	if err := r.Layers.Remove(ctx, rootKey(key)); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove root %q: %w", key, err)
	}
	return nil
}

// Usage measures what a container wrote: bytes and inodes of its own layer.
func (r Roots) Usage(ctx context.Context, key string) (bytes, inodes int64, err error) {
	usage, err := r.Layers.Usage(ctx, rootKey(key))
	if err != nil {
		return 0, 0, fmt.Errorf("measure root %q: %w", key, err)
	}
	return usage.Size, usage.Inodes, nil
}

// List returns all roots.
func (r Roots) List(ctx context.Context) ([]Root, error) {
	var roots []Root
	err := r.Layers.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		image, ok := info.Labels[labelImage]
		if ok && len(info.Name) > len("root/") {
			roots = append(roots, Root{Key: info.Name[len("root/"):], Image: image, Created: info.Created})
		}
		return nil
	}, `labels."`+labelImage+`"`)
	if err != nil {
		return nil, fmt.Errorf("list roots: %w", err)
	}
	return roots, nil
}

func convert(mounts []mount.Mount) []container.Mount {
	out := make([]container.Mount, len(mounts))
	for i, m := range mounts {
		out[i] = container.Mount{Type: m.Type, Source: m.Source, Options: m.Options}
	}
	return out
}
