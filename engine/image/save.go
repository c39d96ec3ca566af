package image

import (
	"context"
	"io"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cuppa-project/cuppa/engine/content"
)

// Save writes the images that refs mean as one archive, which is docker's format and an OCI layout at once. Images named by tag carry that
// tag; images named by ID carry none. Nothing is written before all refs are found.
func (s *Store) Save(ctx context.Context, w io.Writer, refs ...string) error {
	list, err := s.List(ctx)
	if err != nil {
		return err
	}
	opts := []archive.ExportOpt{archive.WithPlatform(s.host)}
	for _, ref := range refs {
		img, err := find(list, ref)
		if err != nil {
			return err
		}
		target, name := exported(img), ""
		if hex, byID := idPrefix(ref); !byID || len(hex) > len(img.ID.Encoded()) || img.ID.Encoded()[:len(hex)] != hex {
			if name, err = FullName(ref); err != nil {
				return err
			}
		}
		if name == "" || hasDigest(name) {
			opts = append(opts, archive.WithManifest(target))
			continue
		}
		opts = append(opts, archive.WithManifest(target, name))
	}
	ctx, done, err := s.content.Lease(ctx)
	if err != nil {
		return err
	}
	defer done()
	return content.Wrap(archive.Export(ctx, s.content.Blobs(), w, opts...), "save images")
}

// exported is what of an image can be sent elsewhere: of a multi-platform image only this machine's manifest is complete here.
func exported(img Image) ocispec.Descriptor {
	if images.IsIndexType(img.Target.MediaType) {
		return ocispec.Descriptor{MediaType: img.manifest.MediaType, Digest: img.manifest.Digest, Size: img.manifest.Size}
	}
	return img.Target
}
