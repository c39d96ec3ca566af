package image

import (
	"context"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/engine/snapshot"
)

// PrepareRoot makes the writable root file system of container key from an image (name or ID) and returns how to mount it. Calling it again
// with the same key returns the same root. Layers that are not unpacked yet are unpacked first.
func (s *Store) PrepareRoot(ctx context.Context, key, ref string) ([]container.Mount, error) {
	img, err := s.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	chain := identity.ChainID(slices.Clone(img.Config.RootFS.DiffIDs)).String()
	nctx := s.content.Context(ctx)
	mounts, err := s.roots.Prepare(nctx, key, chain, img.ID.String())
	if errdefs.IsNotFound(err) {
		if err = s.unpackAgain(ctx, img); err == nil {
			mounts, err = s.roots.Prepare(nctx, key, chain, img.ID.String())
		}
	}
	return mounts, content.Wrap(err, "prepare root file system of %q", ShortName(ref))
}

// unpackAgain restores layers that are not there, for instance after a change of the snapshot driver.
func (s *Store) unpackAgain(ctx context.Context, img Image) error {
	ctx, done, err := s.content.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	return s.take(ctx, img.Target, nil, nil)
}

// RemoveRoot lets a container's root go. One that does not exist is no error.
func (s *Store) RemoveRoot(ctx context.Context, key string) error {
	err := s.roots.Remove(s.content.Context(ctx), key)
	s.content.Tidy()
	return content.Wrap(err, "remove root file system")
}

// RootUsage measures what a container wrote.
func (s *Store) RootUsage(ctx context.Context, key string) (bytes, inodes int64, err error) {
	bytes, inodes, err = s.roots.Usage(s.content.Context(ctx), key)
	return bytes, inodes, content.Wrap(err, "measure root file system")
}

// FsInfo is the room images take, and have.
type FsInfo struct {
	Dir          string // where layers lie
	Used, Inodes uint64 // by this store
	Space        snapshot.Space
}

// FsInfo measures the store. It adds up sizes that were recorded when layers were written, and so stays cheap.
func (s *Store) FsInfo(ctx context.Context) (FsInfo, error) {
	space, err := snapshot.Room(s.content.LayerDir())
	if err != nil {
		return FsInfo{}, err
	}
	info := FsInfo{Dir: s.content.LayerDir(), Space: space}
	list, err := s.List(ctx)
	if err != nil {
		return FsInfo{}, err
	}
	seen := map[string]bool{}
	nctx := s.content.Context(ctx)
	for _, img := range list {
		for _, chain := range identity.ChainIDs(slices.Clone(img.Config.RootFS.DiffIDs)) {
			if seen[chain.String()] {
				continue
			}
			seen[chain.String()] = true
			if usage, err := s.content.Layers().Usage(nctx, chain.String()); err == nil {
				info.Used += uint64(max(usage.Size, 0))
				info.Inodes += uint64(max(usage.Inodes, 0))
			}
		}
		for _, layer := range img.layers {
			if !seen[layer.Digest.String()] {
				seen[layer.Digest.String()] = true
				info.Used += uint64(layer.Size)
			}
		}
	}
	return info, nil
}

// Dir is where layers and roots lie.
func (s *Store) Dir() string { return s.content.LayerDir() }
