package image

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Tag points name at the image ref means. An image that thereby loses its last name stays, without one.
func (s *Store) Tag(ctx context.Context, ref, name string) error {
	named, err := ParseName(name)
	if err != nil {
		return err
	}
	if hasDigest(named.String()) {
		return errkind.New(errkind.Invalid, "refusing to create a tag with a digest reference")
	}
	img, err := s.Inspect(ctx, ref)
	if err != nil {
		return err
	}
	return s.point(ctx, named.String(), img.Target)
}

// point makes a stored name mean target.
func (s *Store) point(ctx context.Context, name string, target ocispec.Descriptor) error {
	ctx = s.content.Context(ctx)
	s.naming.Lock()
	defer s.naming.Unlock()
	names := s.content.Images()
	old, err := names.Get(ctx, name)
	switch {
	case errdefs.IsNotFound(err):
		_, err = names.Create(ctx, images.Image{Name: name, Target: target})
	case err == nil && old.Target.Digest != target.Digest:
		if err = s.keepNameless(ctx, old); err == nil {
			_, err = names.Update(ctx, images.Image{Name: name, Target: target}, "target")
		}
	case err == nil:
		_, err = names.Update(ctx, images.Image{Name: name, Target: target}, "target") // touches the time
	}
	if err != nil {
		return content.Wrap(err, "tag image %q", ShortName(name))
	}
	return s.dropNameless(ctx, target)
}

// keepNameless gives the image that record points at a nameless record if record is the last one to point at it.
func (s *Store) keepNameless(ctx context.Context, record images.Image) error {
	same, err := s.content.Images().List(ctx, `target.digest=="`+record.Target.Digest.String()+`"`)
	if err != nil {
		return err
	}
	for _, other := range same {
		if other.Name != record.Name {
			return nil
		}
	}
	_, err = s.content.Images().Create(ctx, images.Image{Name: danglingName(record.Target.Digest), Target: record.Target})
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// dropNameless removes the nameless record of an image that has a name again.
func (s *Store) dropNameless(ctx context.Context, target ocispec.Descriptor) error {
	err := s.content.Images().Delete(ctx, danglingName(target.Digest))
	if err != nil && !errdefs.IsNotFound(err) {
		return content.Wrap(err, "tag image")
	}
	return nil
}

// Names is the table of names for BuildKit's exporter, which writes to it directly: it brings no namespace, and must follow the same
// rules as Tag.
func (s *Store) Names() images.Store { return exporterNames{s} }

type exporterNames struct{ s *Store }

func (n exporterNames) Get(ctx context.Context, name string) (images.Image, error) {
	return n.s.content.Images().Get(n.s.content.Context(ctx), name)
}

func (n exporterNames) List(ctx context.Context, filters ...string) ([]images.Image, error) {
	return n.s.content.Images().List(n.s.content.Context(ctx), filters...)
}

func (n exporterNames) Create(ctx context.Context, img images.Image) (images.Image, error) {
	return n.set(ctx, img)
}

func (n exporterNames) Update(ctx context.Context, img images.Image, _ ...string) (images.Image, error) {
	return n.set(ctx, img)
}

func (n exporterNames) set(ctx context.Context, img images.Image) (images.Image, error) {
	if isDangling(img.Name) {
		ctx = n.s.content.Context(ctx)
		made, err := n.s.content.Images().Create(ctx, img)
		if errdefs.IsAlreadyExists(err) {
			return img, nil
		}
		return made, err
	}
	name, err := FullName(img.Name)
	if err != nil {
		return images.Image{}, err
	}
	if err := n.s.point(ctx, name, img.Target); err != nil {
		return images.Image{}, err
	}
	return n.Get(ctx, name)
}

func (n exporterNames) Delete(ctx context.Context, name string, opts ...images.DeleteOpt) error {
	return n.s.content.Images().Delete(n.s.content.Context(ctx), name, opts...)
}
