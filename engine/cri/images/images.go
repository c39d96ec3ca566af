// Package images gives the CRI door the engine's image store in the words it wants: full references, its own plain types.
//
// It translates only. Start with New.
package images

import (
	"context"
	"errors"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/cri"
	"github.com/cuppa-project/cuppa/engine/image"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// New returns the store as the CRI door sees it.
func New(store *image.Store) cri.Images { return images{store} }

type images struct{ store *image.Store }

func (i images) Image(ctx context.Context, ref string) (cri.Image, error) {
	img, err := i.store.Inspect(ctx, ref)
	if err != nil {
		return cri.Image{}, err
	}
	return translate(img), nil
}

func (i images) ListImages(ctx context.Context) ([]cri.Image, error) {
	list, err := i.store.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]cri.Image, len(list))
	for n, img := range list {
		out[n] = translate(img)
	}
	return out, nil
}

func translate(img image.Image) cri.Image {
	return cri.Image{ID: img.ID.String(), Tags: full(img.Tags), Digests: full(img.Digests), Size: img.Size, CreatedAt: img.Created, Config: img.Config.Config.ImageConfig}
}

// full spells short names out.
func full(short []string) []string {
	out := make([]string, len(short))
	for i, name := range short {
		out[i] = name
		if long, err := image.FullName(name); err == nil {
			out[i] = long
		}
	}
	return out
}

func (i images) PullImage(ctx context.Context, ref string, auth cri.Auth) (string, error) {
	img, err := i.store.Pull(ctx, ref, image.PullOptions{Auth: image.Auth{
		Username: auth.Username, Password: auth.Password, IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken, ServerAddress: auth.ServerAddress,
	}})
	return img.ID.String(), err
}

// RemoveImage does not ask who uses the image: the kubelet removes only what no container uses, and roots keep their layers anyway.
func (i images) RemoveImage(ctx context.Context, ref string) error {
	if _, err := i.store.Remove(ctx, ref, true); err != nil && !errors.Is(err, errkind.NotFound) {
		return err
	}
	return nil
}

func (i images) Usage(ctx context.Context) (cri.Disk, error) {
	info, err := i.store.FsInfo(ctx)
	return cri.Disk{Path: info.Dir, Bytes: info.Used, Inodes: info.Inodes}, err
}

func (i images) PrepareRootFS(ctx context.Context, key, imageID string) ([]container.Mount, error) {
	return i.store.PrepareRoot(ctx, key, imageID)
}

func (i images) RemoveRootFS(ctx context.Context, key string) error {
	return i.store.RemoveRoot(ctx, key)
}

func (i images) RootFSUsage(ctx context.Context, key string) (cri.Disk, error) {
	bytes, inodes, err := i.store.RootUsage(ctx, key)
	return cri.Disk{Path: i.store.Dir(), Bytes: uint64(max(bytes, 0)), Inodes: uint64(max(inodes, 0))}, err
}
