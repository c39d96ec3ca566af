package image

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"

	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/engine/snapshot"
)

// Removed is one thing a removal did: a name taken away or an image deleted.
type Removed struct{ Untagged, Deleted string }

// Remove takes away the name that ref is, or, if ref is an ID, the image with all its names. The image itself goes with its last name;
// its room on the disk is freed in the background. An image that a container's root stands on is refused as Conflict unless forced.
func (s *Store) Remove(ctx context.Context, ref string, force bool) ([]Removed, error) {
	list, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	img, err := find(list, ref)
	if err != nil {
		return nil, err
	}
	plan, err := planRemoval(img, ref, force, s.userOf(img))
	if err != nil {
		return nil, err
	}
	return s.remove(ctx, img, plan)
}

// Prune removes the images that no container stands on: those without a name, or with all also those that have one.
func (s *Store) Prune(ctx context.Context, all bool) (removed []Removed, freed int64, _ error) {
	list, err := s.List(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, img := range list {
		if s.userOf(img) != "" || (!all && !img.Dangling()) {
			continue
		}
		done, err := s.remove(ctx, img, removeAll(img))
		if err != nil {
			return removed, freed, err
		}
		removed, freed = append(removed, done...), freed+img.Size
	}
	return removed, freed, nil
}

// userOf returns the key of a container root made from the image, "" if there is none.
func (s *Store) userOf(img Image) string {
	for _, root := range s.roots.List() {
		if root.Image == img.ID.String() {
			return root.Key
		}
	}
	return ""
}

// Roots lists the roots of all containers.
func (s *Store) Roots() []snapshot.Root { return s.roots.List() }

// remove carries a plan out. Names go one by one; deleting the last one is what lets the collector take the image.
func (s *Store) remove(ctx context.Context, img Image, plan removal) ([]Removed, error) {
	ctx = s.content.Context(ctx)
	s.naming.Lock()
	defer s.naming.Unlock()
	records, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	var done []Removed
	for _, record := range records {
		short := ShortName(record.Name)
		if isDangling(record.Name) {
			short = ""
		}
		if !s.isOf(ctx, record, img) || (short != "" && !plan.untags(short)) || (short == "" && !plan.delete) {
			continue
		}
		if err := s.content.Images().Delete(ctx, record.Name); err != nil && !errdefs.IsNotFound(err) {
			return done, content.Wrap(err, "remove image %q", short)
		}
		if short != "" {
			done = append(done, Removed{Untagged: short})
		}
	}
	if plan.delete {
		done = append(done, Removed{Deleted: img.ID.String()})
	}
	if err := s.roots.Release(ctx); err != nil {
		return done, content.Wrap(err, "remove image")
	}
	s.content.Collect()
	return done, nil
}

func (s *Store) isOf(ctx context.Context, record images.Image, img Image) bool {
	d, err := s.detail(ctx, record.Target)
	return err == nil && d.id == img.ID
}
