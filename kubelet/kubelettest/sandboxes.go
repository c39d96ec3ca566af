package kubelettest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

type sandbox struct {
	config *runtimeapi.PodSandboxConfig
	status *runtimeapi.PodSandboxStatus
}

// RunPodSandbox implements cri.RuntimeService.
func (r *Runtime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, _ string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if r.sandboxError != nil {
		return "", r.sandboxError
	}
	for _, s := range r.sandboxes {
		if s.config.Metadata.Uid == config.Metadata.Uid && s.config.Metadata.Attempt == config.Metadata.Attempt {
			return "", errkind.New(errkind.Exists, "sandbox of pod %s attempt %d exists", config.Metadata.Name, config.Metadata.Attempt)
		}
	}
	id := r.id("sandbox")
	r.nextIP++
	status := &runtimeapi.PodSandboxStatus{
		Id: id, Metadata: config.Metadata, CreatedAt: time.Now().UnixNano(), Labels: config.Labels, Annotations: config.Annotations,
		Network: &runtimeapi.PodSandboxNetworkStatus{Ip: fmt.Sprintf("10.1.0.%d", r.nextIP)},
		Linux:   &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: config.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
	}
	r.sandboxes[id] = &sandbox{config: config, status: status}
	r.note("run sandbox %s attempt=%d", config.Metadata.Name, config.Metadata.Attempt)
	return id, nil
}

// StopPodSandbox implements cri.RuntimeService.
func (r *Runtime) StopPodSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.sandboxes[id]; ok {
		r.note("stop sandbox %s", s.config.Metadata.Name)
		r.stopSandbox(id, s)
	}
	return nil
}

func (r *Runtime) stopSandbox(id string, s *sandbox) {
	for _, c := range r.containers {
		if c.sandbox == id && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			r.exit(c, 137, "")
		}
	}
	s.status.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	r.publish(id, "", runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// RemovePodSandbox implements cri.RuntimeService.
func (r *Runtime) RemovePodSandbox(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return nil
	}
	r.stopSandbox(id, s)
	for cid, c := range r.containers {
		if c.sandbox == id {
			delete(r.containers, cid)
		}
	}
	r.note("remove sandbox %s", s.config.Metadata.Name)
	r.publish(id, "", runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	delete(r.sandboxes, id)
	return nil
}

// PodSandboxStatus implements cri.RuntimeService.
func (r *Runtime) PodSandboxStatus(_ context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[id]
	if !ok {
		return nil, errkind.New(errkind.NotFound, "no sandbox %s", id)
	}
	response := &runtimeapi.PodSandboxStatusResponse{Status: proto.CloneOf(s.status)}
	if r.terse {
		return response, nil
	}
	response.Timestamp = time.Now().UnixNano()
	for _, c := range r.containers {
		if c.sandbox == id {
			response.ContainersStatuses = append(response.ContainersStatuses, proto.CloneOf(c.status))
		}
	}
	return response, nil
}

// ListPodSandbox implements cri.RuntimeService.
func (r *Runtime) ListPodSandbox(_ context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*runtimeapi.PodSandbox
	for id, s := range r.sandboxes {
		if !selects(filter.GetLabelSelector(), s.config.Labels) {
			continue
		}
		out = append(out, &runtimeapi.PodSandbox{Id: id, Metadata: s.config.Metadata, State: s.status.State, CreatedAt: s.status.CreatedAt,
			Labels: s.config.Labels, Annotations: s.config.Annotations})
	}
	slices.SortFunc(out, func(a, b *runtimeapi.PodSandbox) int { return cmp.Compare(a.Id, b.Id) })
	return out, nil
}

func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}
