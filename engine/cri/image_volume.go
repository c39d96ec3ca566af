package cri

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// imageMount translates a mount that shows an image. Its source is the runtime's to fill in. An image is never written to.
func imageMount(m *runtimeapi.Mount) (specs.Mount, error) {
	switch {
	case m.ContainerPath == "":
		return specs.Mount{}, errkind.New(errkind.Invalid, "mount of image %s needs a container path", m.Image.Image)
	case m.HostPath != "":
		return specs.Mount{}, errkind.New(errkind.Invalid, "mount %s: it cannot show both image %s and the host's %s", m.ContainerPath, m.Image.Image, m.HostPath)
	case m.ImageSubPath != "" && !filepath.IsLocal(m.ImageSubPath):
		return specs.Mount{}, errkind.New(errkind.Invalid, "mount %s: subPath %q leaves the image", m.ContainerPath, m.ImageSubPath)
	}
	return specs.Mount{Destination: filepath.Clean("/" + m.ContainerPath), Type: "bind",
		Options: append([]string{"rbind", "rprivate", "ro"}, m.MountOptions...)}, nil
}

// labelImages says on a container how many images it has besides its root.
const labelImages = "engine.cuppa.dev/images"

// imageKey names the tree of one of a container's images.
func imageKey(id string, n int) string { return id + ".image-" + strconv.Itoa(n) }

// imageVolumes are the mounts of a container that show images.
func imageVolumes(config *runtimeapi.ContainerConfig) (out []*runtimeapi.Mount) {
	for _, m := range config.Mounts {
		if m.Image.GetImage() != "" {
			out = append(out, m)
		}
	}
	return out
}

// prepareImages makes the trees of a container's images.
func (s *Service) prepareImages(ctx context.Context, c *ctr) ([]container.Image, error) {
	var out []container.Image
	for n, m := range imageVolumes(c.Config) {
		image, err := s.images.Image(ctx, m.Image.Image)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.ContainerPath, err)
		}
		root, err := s.images.PrepareRootFS(ctx, imageKey(c.ID, n), image.ID)
		if err != nil {
			return nil, fmt.Errorf("mount %s: prepare image: %w", m.ContainerPath, err)
		}
		out = append(out, container.Image{To: filepath.Clean("/" + m.ContainerPath), RootFS: root, SubPath: m.ImageSubPath})
	}
	return out, nil
}

// removeRoots lets a container's root go, and those of its images.
func (s *Service) removeRoots(ctx context.Context, id string, images int) error {
	errs := []error{s.images.RemoveRootFS(ctx, id)}
	for n := range images {
		errs = append(errs, s.images.RemoveRootFS(ctx, imageKey(id, n)))
	}
	for i, err := range errs {
		if errors.Is(err, errkind.NotFound) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}
