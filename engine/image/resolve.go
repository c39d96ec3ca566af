package image

import (
	"context"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"

	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// List returns all images, newest first.
func (s *Store) List(ctx context.Context) ([]Image, error) {
	records, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	return s.collectImages(ctx, records)
}

// Resolve finds an image by name, by ID or by the beginning of an ID, in docker's order: a full ID, then a name, then a short ID.
// NotFound in docker's words if there is none.
func (s *Store) Resolve(ctx context.Context, ref string) (Image, error) {
	if img, ok, err := s.byName(ctx, ref); ok || err != nil {
		return img, err
	}
	list, err := s.List(ctx)
	if err != nil {
		return Image{}, err
	}
	return find(list, ref)
}

// byName is the short way for the commonest case: one record instead of all. It does not apply where all names of the image are wanted.
func (s *Store) byName(ctx context.Context, ref string) (Image, bool, error) {
	if strings.HasPrefix(ref, "sha256:") {
		return Image{}, false, nil
	}
	name, err := FullName(ref)
	if err != nil {
		return Image{}, false, nil
	}
	record, err := s.content.Images().Get(s.content.Context(ctx), name)
	if errdefs.IsNotFound(err) {
		return Image{}, false, nil
	}
	if err != nil {
		return Image{}, false, content.Wrap(err, "find image %q", ref)
	}
	d, err := s.detail(ctx, record.Target)
	if err != nil {
		return Image{}, false, content.Wrap(err, "read image %q", ref)
	}
	img := newImage(record.Target, d)
	img.addName(record)
	return *img, true, nil
}

// Inspect is Resolve with all names the image has.
func (s *Store) Inspect(ctx context.Context, ref string) (Image, error) {
	list, err := s.List(ctx)
	if err != nil {
		return Image{}, err
	}
	return find(list, ref)
}

// find decides which image of the list ref means.
func find(list []Image, ref string) (Image, error) {
	for _, img := range list {
		if ref == img.ID.String() || ref == img.ID.Encoded() {
			return img, nil
		}
	}
	if !strings.HasPrefix(ref, "sha256:") {
		named, err := ParseName(ref)
		if err != nil {
			return Image{}, err
		}
		short := ShortName(named.String())
		for _, img := range list {
			if slices.Contains(img.Tags, short) || slices.Contains(img.Digests, short) || img.is(named) {
				return img, nil
			}
		}
	}
	hex, ok := idPrefix(ref)
	if !ok {
		return Image{}, noSuchImage(ref)
	}
	var found []Image
	for _, img := range list {
		if strings.HasPrefix(img.ID.Encoded(), hex) || img.Target.Digest.Encoded() == hex || img.Manifest.Encoded() == hex {
			found = append(found, img)
		}
	}
	switch len(found) {
	case 0:
		return Image{}, noSuchImage(ref)
	case 1:
		return found[0], nil
	}
	return Image{}, errkind.New(errkind.Invalid, "image ID %q is ambiguous: it begins %d images", ref, len(found))
}

// is says whether a name with a digest means the image although it was never pulled by that digest: it came out of an archive or a build,
// and has another name in the same repository.
func (i Image) is(named reference.Named) bool {
	d, ok := named.(reference.Digested)
	if !ok || (d.Digest() != i.Target.Digest && d.Digest() != i.Manifest) {
		return false
	}
	return slices.Contains(repositories(i), named.Name())
}

// noSuchImage words it as docker does: with the tag that was meant.
func noSuchImage(ref string) error {
	if !strings.HasPrefix(ref, "sha256:") {
		ref = ShortName(ref)
	}
	return errkind.New(errkind.NotFound, "No such image: %s", ref)
}

// CheckPlatform refuses platforms ("linux/arm64") that this machine cannot run; "" is any.
func CheckPlatform(name string) error {
	if name == "" {
		return nil
	}
	p, err := platforms.Parse(name)
	if err != nil {
		return errkind.New(errkind.Invalid, "invalid platform %q: %w", name, err)
	}
	if !platforms.Default().Match(p) {
		return errkind.New(errkind.Invalid, "platform %s is not supported: this machine runs %s", name, hostPlatform())
	}
	return nil
}

func hostPlatform() string { return platforms.Format(platforms.DefaultSpec()) }
