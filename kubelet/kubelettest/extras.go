package kubelettest

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
)

// RunSandbox implements kubelet.Extender.
func (r *Runtime) RunSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string, asked extras.Document) (string, error) {
	id, err := r.RunPodSandbox(ctx, config, handler)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.note("  with shmSize=%d", asked.ShmSize)
	}
	return id, err
}

// MakeContainer implements kubelet.Extender.
func (r *Runtime) MakeContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, asked extras.Container) (string, error) {
	id, err := r.CreateContainer(ctx, sandboxID, config, nil)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.note("  with %s", extras.New(config.Metadata.Name, asked))
	}
	return id, err
}
