package image

import (
	"context"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cuppa-project/cuppa/engine/snapshot"
)

// take brings everything behind target into the store, unpacks it, and sets the labels that tie blobs and layers together for the
// collector. fetch brings one blob (nil: all are there). The context holds a lease.
func (s *Store) take(ctx context.Context, target ocispec.Descriptor, fetch images.HandlerFunc, rep *reporter) error {
	blobs := s.content.Blobs()
	children := images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		list, err := images.Children(ctx, blobs, desc)
		if errdefs.IsNotFound(err) {
			return nil, nil // a platform the archive leaves out
		}
		if err != nil {
			return nil, err
		}
		if images.IsIndexType(desc.MediaType) {
			best, ok := s.best(list)
			if !ok {
				return nil, nil
			}
			return []ocispec.Descriptor{best}, nil
		}
		return list, s.announce(ctx, list, rep)
	})
	steps := []images.Handler{images.SetChildrenLabels(blobs, children)}
	if fetch != nil {
		steps = append([]images.Handler{fetch}, steps...)
	}
	u, err := unpack.NewUnpacker(ctx, blobs, unpack.WithFetchAllContent(), unpack.WithUnpackPlatform(unpack.Platform{
		Platform:       platforms.All,
		SnapshotterKey: s.content.LayerDriver(),
		Snapshotter:    s.content.Layers(),
		Applier:        &applier{Applier: s.content.Applier(), rep: rep},
	}))
	if err != nil {
		return err
	}
	dispatchErr := images.Dispatch(ctx, u.Unpack(images.Handlers(steps...)), nil, target)
	if _, err := u.Wait(); err != nil {
		return err // it is the cause where both failed
	}
	return dispatchErr
}

// announce says which layers are coming and refuses when the disk cannot hold them.
func (s *Store) announce(ctx context.Context, list []ocispec.Descriptor, rep *reporter) error {
	var need int64
	for _, desc := range list {
		if !images.IsLayerType(desc.MediaType) {
			continue
		}
		if _, err := s.content.Blobs().Info(ctx, desc.Digest); err == nil {
			continue
		}
		rep.step(Progress{ID: short(desc), Status: "Pulling fs layer"})
		need += 3 * desc.Size // the blob, and about twice its size unpacked
	}
	if need == 0 {
		return nil
	}
	return snapshot.Require(s.content.Dir(), need)
}

// short is how docker shows a layer.
func short(desc ocispec.Descriptor) string {
	hex := desc.Digest.Encoded()
	return hex[:min(12, len(hex))]
}

// applier reports the unpacking of each layer.
type applier struct {
	diff.Applier
	rep *reporter
}

func (a *applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	id := short(desc)
	a.rep.step(Progress{ID: id, Status: "Extracting", Total: desc.Size})
	opts = append(opts, diff.WithProgress(func(_ ocispec.Descriptor, n int64) {
		a.rep.step(Progress{ID: id, Status: "Extracting", Current: n, Total: desc.Size})
	}))
	out, err := a.Applier.Apply(ctx, desc, mounts, opts...)
	if err == nil {
		a.rep.step(Progress{ID: id, Status: "Pull complete"})
	}
	return out, err
}
