package kubelettest

import (
	"cmp"
	"context"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func (r *Runtime) addImage(name string) {
	r.images[name] = &runtimeapi.Image{Id: "sha256:" + name, RepoTags: []string{name}, Size: 1000, Spec: &runtimeapi.ImageSpec{Image: name}}
}

// Offer makes an image pullable.
func (r *Runtime) Offer(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.registry[name] = true
}

// SetUser makes an image run as a user.
func (r *Runtime) SetUser(name string, uid int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[name].Uid = &runtimeapi.Int64Value{Value: uid}
}

// ImageStatus implements cri.ImageManagerService.
func (r *Runtime) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &runtimeapi.ImageStatusResponse{Image: r.images[strings.TrimPrefix(spec.Image, "sha256:")]}, nil
}

// ListImages implements cri.ImageManagerService.
func (r *Runtime) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*runtimeapi.Image
	for _, image := range r.images {
		out = append(out, image)
	}
	slices.SortFunc(out, func(a, b *runtimeapi.Image) int { return cmp.Compare(a.Id, b.Id) })
	return out, nil
}

// PullImage implements cri.ImageManagerService.
func (r *Runtime) PullImage(ctx context.Context, spec *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	r.mu.Lock()
	delay := r.pullDelay
	r.mu.Unlock()
	if err := wait(ctx, delay); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note("pull %s user=%q", spec.Image, auth.GetUsername())
	if !r.registry[spec.Image] {
		return "", errkind.New(errkind.NotFound, "%s: not found", spec.Image)
	}
	r.addImage(spec.Image)
	return r.images[spec.Image].Id, nil
}

// RemoveImage implements cri.ImageManagerService.
func (r *Runtime) RemoveImage(_ context.Context, spec *runtimeapi.ImageSpec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.images, strings.TrimPrefix(spec.Image, "sha256:"))
	return nil
}

// ImageFsInfo implements cri.ImageManagerService.
func (r *Runtime) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{}, nil
}
