package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/cuppa-project/cuppa/engine/container"
)

// labelRoot keeps a layer from being collected; labelPin and labelImage tell what it is kept for.
const (
	labelRoot  = "containerd.io/gc.root"
	labelPin   = "cuppa.dev/pins-layers-of-roots"
	labelImage = "cuppa.dev/root-of-image"
)

// Root is the writable file system of one container.
type Root struct {
	Key     string    `json:"key"`   // as given to Prepare
	Image   string    `json:"image"` // ID of its image
	Chain   string    `json:"chain"` // the layers it stands on
	Created time.Time `json:"created"`
}

// Roots makes and removes the writable roots of containers.
//
// With overlayfs a root is two folders of our own over the layers of the image, and one layer per image, the pin, keeps those from being
// collected: making a root writes no database and waits for no disk, where the snapshotter would commit twice. A root does not outlive the boot
// it was made in, as containers do not. With copies a root is a layer of the snapshotter.
type Roots struct {
	driver *Driver
	layers snapshots.Snapshotter // driver's, as the metadata knows it
	dir    string                // of this boot's roots
	trash  string                // what Sweep removes

	mu    sync.Mutex
	roots map[string]Root     // by key
	pins  map[string][]string // mount options by chain, for those that are pinned
}

// OpenRoots finds the roots of this boot, and lets those of earlier ones go.
func OpenRoots(ctx context.Context, driver *Driver, layers snapshots.Snapshotter, boot string) (*Roots, error) {
	base := filepath.Join(driver.Dir, "roots")
	r := &Roots{driver: driver, layers: layers, dir: filepath.Join(base, boot), trash: filepath.Join(base, "removed"),
		roots: map[string]Root{}, pins: map[string][]string{}}
	for _, dir := range []string{r.dir, r.trash} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("open roots: %w", err)
		}
	}
	if unmade, err := filepath.Glob(filepath.Join(r.trash, "new-*")); err == nil {
		for _, dir := range unmade { // a few empty folders, of a process that was killed
			if err := os.RemoveAll(dir); err != nil {
				return nil, fmt.Errorf("open roots: %w", err)
			}
		}
	}
	boots, err := os.ReadDir(base)
	if err != nil {
		return nil, fmt.Errorf("open roots: %w", err)
	}
	for _, entry := range boots {
		if name := filepath.Join(base, entry.Name()); name != r.dir && name != r.trash {
			if err := r.discard(name); err != nil {
				return nil, err
			}
		}
	}
	if err := r.read(ctx); err != nil {
		return nil, fmt.Errorf("open roots: %w", err)
	}
	return r, r.Release(ctx)
}

// read finds the roots that are there.
func (r *Roots) read(ctx context.Context) error {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		var root Root
		data, err := os.ReadFile(filepath.Join(r.dir, entry.Name(), rootMeta))
		if err == nil {
			err = json.Unmarshal(data, &root)
		}
		if err != nil { // it was being made
			if err := r.discard(filepath.Join(r.dir, entry.Name())); err != nil {
				return err
			}
			continue
		}
		r.roots[root.Key] = root
	}
	return r.layers.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if image, ok := info.Labels[labelImage]; ok {
			key := strings.TrimPrefix(info.Name, layerKey(""))
			r.roots[key] = Root{Key: key, Image: image, Chain: info.Parent, Created: info.Created}
		}
		return nil
	}, `labels."`+labelImage+`"`)
}

// IsRoot tells roots, and what keeps their layers, from other layers.
func IsRoot(info snapshots.Info) bool {
	_, root := info.Labels[labelImage]
	_, pin := info.Labels[labelPin]
	return root || pin
}

func layerKey(key string) string { return "root/" + key }

func (r *Roots) path(key string) string { return filepath.Join(r.dir, "r-"+url.PathEscape(key)) }

// Prepare makes the root of key on top of the layer chain and returns how to mount it. A second call returns the same root. NotFound (of
// containerd's kinds) says that the layers are not unpacked.
func (r *Roots) Prepare(ctx context.Context, key, chain, image string) ([]container.Mount, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	root := Root{Key: key, Image: image, Chain: chain, Created: time.Now().UTC()}
	mounts, err := r.prepare(ctx, root)
	if err != nil {
		return nil, fmt.Errorf("prepare root %q: %w", key, err)
	}
	if _, ok := r.roots[key]; !ok {
		r.roots[key] = root
	}
	return mounts, nil
}

func (r *Roots) prepare(ctx context.Context, root Root) ([]container.Mount, error) {
	if r.driver.Name != Overlay {
		return r.prepareLayer(ctx, root)
	}
	if old, ok := r.roots[root.Key]; ok {
		root = old
	}
	options, err := r.pin(ctx, root.Chain)
	if err != nil {
		return nil, err
	}
	dir := r.path(root.Key)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := r.make(dir, root, options); err != nil {
			return nil, err
		}
	} else if err := forgetVolatile(filepath.Join(dir, rootWork)); err != nil {
		return nil, err
	}
	upper := filepath.Join(dir, rootUpper)
	if root.Chain == "" { // an image without layers
		return []container.Mount{{Type: "bind", Source: upper, Options: []string{"rbind", "rw"}}}, nil
	}
	options = append(slices.Clone(options), "upperdir="+upper, "workdir="+filepath.Join(dir, rootWork))
	if r.driver.Volatile {
		// Neither a sync in the container nor its end waits for the disk. What a container must not lose is in its volumes.
		options = append(options, "volatile")
	}
	return []container.Mount{{Type: "overlay", Source: "overlay", Options: options}}, nil
}

// pin makes sure that the layers of a chain stay, and returns the options that mount them.
func (r *Roots) pin(ctx context.Context, chain string) ([]string, error) {
	if options, ok := r.pins[chain]; ok || chain == "" {
		return options, nil
	}
	key := "pin/" + chain
	mounts, err := r.layers.Prepare(ctx, key, chain, snapshots.WithLabels(map[string]string{labelRoot: time.Now().UTC().Format(time.RFC3339), labelPin: "true"}))
	if errdefs.IsAlreadyExists(err) {
		mounts, err = r.layers.Mounts(ctx, key)
	}
	if err != nil {
		return nil, err
	}
	if len(mounts) != 1 || mounts[0].Type != "overlay" {
		return nil, fmt.Errorf("layers are mounted as %+v, not as one overlay", mounts)
	}
	var options []string
	for _, option := range mounts[0].Options {
		if !strings.HasPrefix(option, "upperdir=") && !strings.HasPrefix(option, "workdir=") {
			options = append(options, option)
		}
	}
	r.pins[chain] = options
	return options, nil
}

// prepareLayer makes a root that is a layer of the snapshotter.
func (r *Roots) prepareLayer(ctx context.Context, root Root) ([]container.Mount, error) {
	labels := map[string]string{labelRoot: root.Created.Format(time.RFC3339), labelImage: root.Image}
	mounts, err := r.layers.Prepare(ctx, layerKey(root.Key), root.Chain, snapshots.WithLabels(labels))
	if errdefs.IsAlreadyExists(err) {
		mounts, err = r.layers.Mounts(ctx, layerKey(root.Key))
	}
	return convert(mounts), err
}

// Remove lets a root go; its files go with the next Sweep. A root that does not exist is no error.
func (r *Roots) Remove(ctx context.Context, key string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if r.driver.Name == Overlay {
		err = r.discard(r.path(key))
	} else if err = r.layers.Remove(ctx, layerKey(key)); errdefs.IsNotFound(err) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("remove root %q: %w", key, err)
	}
	delete(r.roots, key)
	return nil
}

// Release lets the layers go that no root stands on: they stay only as long as their image does. It is called after an image was removed.
func (r *Roots) Release(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	used := map[string]bool{}
	for _, root := range r.roots {
		used[root.Chain] = true
	}
	var unused []string
	err := r.layers.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if !used[info.Parent] {
			unused = append(unused, info.Name)
			delete(r.pins, info.Parent)
		}
		return nil
	}, `labels."`+labelPin+`"`)
	if err != nil {
		return fmt.Errorf("release layers: %w", err)
	}
	for _, key := range unused {
		if err := r.layers.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("release layers: %w", err)
		}
	}
	return nil
}

// Usage measures what a container wrote: bytes and inodes of its own layer.
func (r *Roots) Usage(ctx context.Context, key string) (bytes, inodes int64, err error) {
	if r.driver.Name != Overlay {
		usage, err := r.layers.Usage(ctx, layerKey(key))
		if err != nil {
			return 0, 0, fmt.Errorf("measure root %q: %w", key, err)
		}
		return usage.Size, usage.Inodes, nil
	}
	upper := filepath.Join(r.path(key), rootUpper)
	if _, err := os.Lstat(upper); errors.Is(err, fs.ErrNotExist) {
		return 0, 0, fmt.Errorf("measure root %q: %w", key, errdefs.ErrNotFound)
	}
	return diskUsage(upper)
}

// List returns all roots, by key.
func (r *Roots) List() []Root {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Root, 0, len(r.roots))
	for _, root := range r.roots {
		list = append(list, root)
	}
	slices.SortFunc(list, func(a, b Root) int { return strings.Compare(a.Key, b.Key) })
	return list
}
