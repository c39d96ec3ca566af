package cri

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func criImage(i Image) *runtimeapi.Image {
	out := &runtimeapi.Image{Id: i.ID, RepoTags: i.Tags, RepoDigests: i.Digests, Size: uint64(max(i.Size, 0)),
		Spec: &runtimeapi.ImageSpec{Image: i.ID}}
	user, _, _ := strings.Cut(i.Config.User, ":")
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		out.Uid = &runtimeapi.Int64Value{Value: uid}
	} else {
		out.Username = user
	}
	return out
}

// ListImages implements ImageManagerService.
func (s *Service) ListImages(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	if ref := filter.GetImage().GetImage(); ref != "" {
		i, err := s.images.Image(ctx, ref)
		if errors.Is(err, errkind.NotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []*runtimeapi.Image{criImage(i)}, nil
	}
	all, err := s.images.ListImages(ctx)
	if err != nil {
		return nil, err
	}
	var out []*runtimeapi.Image
	for _, i := range all {
		out = append(out, criImage(i))
	}
	return out, nil
}

// ImageStatus implements ImageManagerService. An image that is not there is an answer without an image.
func (s *Service) ImageStatus(ctx context.Context, image *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	i, err := s.images.Image(ctx, image.GetImage())
	if errors.Is(err, errkind.NotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ImageStatusResponse{Image: criImage(i)}, nil
}

// PullImage implements ImageManagerService.
func (s *Service) PullImage(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	return s.images.PullImage(ctx, image.GetImage(), Auth{Username: auth.GetUsername(), Password: auth.GetPassword(),
		IdentityToken: auth.GetIdentityToken(), RegistryToken: auth.GetRegistryToken(), ServerAddress: auth.GetServerAddress()})
}

// RemoveImage implements ImageManagerService.
func (s *Service) RemoveImage(ctx context.Context, image *runtimeapi.ImageSpec) error {
	err := s.images.RemoveImage(ctx, image.GetImage())
	if errors.Is(err, errkind.NotFound) {
		return nil
	}
	return err
}

// ImageFsInfo implements ImageManagerService. Images and writable layers are on one file system.
func (s *Service) ImageFsInfo(ctx context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	disk, err := s.images.Usage(ctx)
	if err != nil {
		return nil, err
	}
	usage := []*runtimeapi.FilesystemUsage{{Timestamp: time.Now().UnixNano(), UsedBytes: value(disk.Bytes), InodesUsed: value(disk.Inodes),
		FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: disk.Path}}}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: usage, ContainerFilesystems: usage}, nil
}
