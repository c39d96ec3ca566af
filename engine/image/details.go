package image

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	bcontent "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cuppa-project/cuppa/engine/content"
)

// details remembers what was read from blobs, by target digest. Blobs never change, so neither does this; entries of images that are gone
// are dropped when images are listed.
type details struct {
	mu   sync.Mutex
	byID map[digest.Digest]detail
}

type detail struct {
	id       digest.Digest
	manifest ocispec.Descriptor
	config   Config
	layers   []ocispec.Descriptor
	blobSize int64
	size     int64 // of unpacked layers; 0: not known to be unpacked
}

func (d *details) get(target digest.Digest) (detail, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	found, ok := d.byID[target]
	return found, ok
}

func (d *details) put(target digest.Digest, v detail) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byID == nil {
		d.byID = map[digest.Digest]detail{}
	}
	d.byID[target] = v
}

func (d *details) keepOnly(targets map[digest.Digest]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for target := range d.byID {
		if !targets[target] {
			delete(d.byID, target)
		}
	}
}

// detail reads the manifest and configuration behind a target.
func (s *Store) detail(ctx context.Context, target ocispec.Descriptor) (detail, error) {
	ctx = s.content.Context(ctx)
	d, ok := s.cache.get(target.Digest)
	if !ok {
		var err error
		if d, err = s.readDetail(ctx, target); err != nil {
			return detail{}, err
		}
	}
	if d.size == 0 {
		d.size = s.unpackedSize(ctx, d.config.RootFS.DiffIDs)
		s.cache.put(target.Digest, d)
	}
	return d, nil
}

func (s *Store) readDetail(ctx context.Context, target ocispec.Descriptor) (detail, error) {
	manifestDesc, manifest, err := s.manifest(ctx, target)
	if err != nil {
		return detail{}, err
	}
	blob, err := bcontent.ReadBlob(ctx, s.content.Blobs(), manifest.Config)
	if err != nil {
		return detail{}, err
	}
	d := detail{id: manifest.Config.Digest, manifest: manifestDesc, layers: manifest.Layers}
	if err := json.Unmarshal(blob, &d.config); err != nil {
		return detail{}, fmt.Errorf("read image configuration %s: %w", manifest.Config.Digest, err)
	}
	for _, layer := range manifest.Layers {
		d.blobSize += layer.Size
	}
	return d, nil
}

// manifest finds the manifest for this machine behind a target. An image that is not for this machine's platform and stands alone is
// taken as it is: such images exist in archives, and scripts or data need no platform.
func (s *Store) manifest(ctx context.Context, target ocispec.Descriptor) (ocispec.Descriptor, ocispec.Manifest, error) {
	blobs := s.content.Blobs()
	for images.IsIndexType(target.MediaType) {
		blob, err := bcontent.ReadBlob(ctx, blobs, target)
		if err != nil {
			return target, ocispec.Manifest{}, err
		}
		var index ocispec.Index
		if err := json.Unmarshal(blob, &index); err != nil {
			return target, ocispec.Manifest{}, fmt.Errorf("read image index %s: %w", target.Digest, err)
		}
		best, ok := s.best(index.Manifests)
		if !ok {
			return target, ocispec.Manifest{}, fmt.Errorf("no matching manifest for %s in the manifest list entries: %w", hostPlatform(), errdefs.ErrNotFound)
		}
		target = best
	}
	blob, err := bcontent.ReadBlob(ctx, blobs, target)
	if err != nil {
		return target, ocispec.Manifest{}, err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(blob, &manifest); err != nil {
		return target, ocispec.Manifest{}, fmt.Errorf("read image manifest %s: %w", target.Digest, err)
	}
	return target, manifest, nil
}

// best picks the entry of an index for this machine.
func (s *Store) best(entries []ocispec.Descriptor) (ocispec.Descriptor, bool) {
	var real []ocispec.Descriptor
	for _, e := range entries {
		if _, attestation := e.Annotations["vnd.docker.reference.type"]; attestation {
			continue
		}
		if e.Platform == nil || s.host.Match(*e.Platform) {
			real = append(real, e)
		}
	}
	if len(real) == 0 {
		return ocispec.Descriptor{}, false
	}
	slices.SortStableFunc(real, func(a, b ocispec.Descriptor) int {
		switch {
		case a.Platform == nil || b.Platform == nil:
			return 0
		case s.host.Less(*a.Platform, *b.Platform):
			return -1
		case s.host.Less(*b.Platform, *a.Platform):
			return 1
		}
		return 0
	})
	return real[0], true
}

// unpackedSize adds up what the layers' files take; 0 if one of them is not unpacked.
func (s *Store) unpackedSize(ctx context.Context, diffIDs []digest.Digest) int64 {
	var total int64
	for _, chain := range identity.ChainIDs(slices.Clone(diffIDs)) {
		usage, err := s.content.Layers().Usage(ctx, chain.String())
		if err != nil {
			return 0
		}
		total += usage.Size
	}
	return total
}

// collectImages groups names by the image they point at. Names whose blobs are damaged or missing are logged and left out.
func (s *Store) collectImages(ctx context.Context, records []images.Image) ([]Image, error) {
	byID := map[digest.Digest]*Image{}
	targets := map[digest.Digest]bool{}
	var order []digest.Digest
	for _, record := range records {
		targets[record.Target.Digest] = true
		d, err := s.detail(ctx, record.Target)
		if errdefs.IsNotFound(err) {
			s.log.Warn("image is incomplete", "image", record.Name, "err", err)
			continue
		}
		if err != nil {
			return nil, content.Wrap(err, "read image %q", ShortName(record.Name))
		}
		img := byID[d.id]
		if img == nil {
			img = newImage(record.Target, d)
			byID[d.id] = img
			order = append(order, d.id)
		}
		img.addName(record)
	}
	s.cache.keepOnly(targets)
	out := make([]Image, 0, len(order))
	for _, id := range order {
		slices.Sort(byID[id].Tags)
		slices.Sort(byID[id].Digests)
		out = append(out, *byID[id])
	}
	slices.SortStableFunc(out, func(a, b Image) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.first(), b.first())
	})
	return out, nil
}

func newImage(target ocispec.Descriptor, d detail) *Image {
	img := &Image{ID: d.id, Target: target, Manifest: d.manifest.Digest, Size: d.size, Config: d.config, manifest: d.manifest, layers: d.layers}
	if img.Size == 0 {
		img.Size = d.blobSize
	}
	if d.config.Created != nil {
		img.Created = *d.config.Created
	}
	return img
}

func (i *Image) addName(record images.Image) {
	if record.UpdatedAt.After(i.Tagged) {
		i.Tagged = record.UpdatedAt
	}
	switch {
	case isDangling(record.Name):
	case hasDigest(record.Name):
		i.Digests = append(i.Digests, ShortName(record.Name))
	default:
		i.Tags = append(i.Tags, ShortName(record.Name))
	}
}

// first is the name an image sorts by.
func (i Image) first() string {
	if len(i.Tags) > 0 {
		return i.Tags[0]
	}
	return i.ID.String()
}
