//go:build cgo

package server

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/mount"
)

// imagesDir is where the images are mounted that a container sees besides its root: each as N, and the part of it that is shown as N.part.
func (s *Server) imagesDir(id string) string { return filepath.Join(s.cfg.RunDir, "images", id) }

func (s *Server) imageDir(id string, n int) string {
	return filepath.Join(s.imagesDir(id), strconv.Itoa(n))
}

func (s *Server) imagePart(id string, n int) string { return s.imageDir(id, n) + ".part" }

// mountImages mounts a container's images. What it leaves after a failure is released with the container.
func (s *Server) mountImages(c *ctr) error {
	for n, image := range c.spec.Images {
		dir := s.imageDir(c.spec.ID, n)
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make image folder: %w", err)
		}
		if err := mountAll(dir, image.RootFS); err != nil {
			return err
		}
		if image.SubPath == "" {
			continue
		}
		if err := bindPart(dir, image, s.imagePart(c.spec.ID, n)); err != nil {
			return fmt.Errorf("mount image at %s: subPath: %w", image.To, err)
		}
	}
	return nil
}

// bindPart shows a part of a mounted image at target.
func bindPart(dir string, image container.Image, target string) error {
	root, err := mount.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	part, err := root.Handle(image.SubPath, mount.AsChroot)
	if err != nil {
		return err
	}
	defer part.Close()
	info, err := part.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.Mkdir(target, 0o711)
	} else {
		err = os.WriteFile(target, nil, 0o600)
	}
	if err != nil {
		return err
	}
	return mount.Bind(part, target)
}

// withImages names the sources of the mounts that show images.
func (s *Server) withImages(c *ctr, mounts []specs.Mount) []specs.Mount {
	if len(c.spec.Images) == 0 {
		return mounts
	}
	mounts = slices.Clone(mounts)
	for n, image := range c.spec.Images {
		source := s.imageDir(c.spec.ID, n)
		if image.SubPath != "" {
			source = s.imagePart(c.spec.ID, n)
		}
		for i := range mounts {
			if mounts[i].Destination == image.To {
				mounts[i].Source = source
			}
		}
	}
	return mounts
}

// releaseImages unmounts a container's images.
func (s *Server) releaseImages(id string) error {
	busy, err := mount.Clear(s.imagesDir(id))
	if len(busy) > 0 {
		s.log.Warn("images were in use and will be unmounted with their last user", "container", id, "mounts", busy)
	}
	return err
}
