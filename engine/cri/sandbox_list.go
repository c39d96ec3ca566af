package cri

import (
	"context"
	"slices"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/engine/container"
)

func criState(s sandboxState) runtimeapi.PodSandboxState {
	if s == sandboxReady {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

// sandboxStatus tells how a pod stands.
func (s *Service) sandboxStatus(b *sandbox) *runtimeapi.PodSandboxStatus {
	s.mu.Lock()
	state := b.State
	s.mu.Unlock()
	st := &runtimeapi.PodSandboxStatus{
		Id: b.ID, Metadata: b.Config.Metadata, State: criState(state), CreatedAt: stamp(b.CreatedAt),
		Network: &runtimeapi.PodSandboxNetworkStatus{}, Labels: b.Config.Labels, Annotations: b.Config.Annotations,
		RuntimeHandler: b.RuntimeHandler,
		Linux:          &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: b.namespaceOptions()}},
	}
	if state != sandboxReady {
		return st // its addresses may already be another's
	}
	for i, ip := range b.Addresses.IPs {
		if i == 0 {
			st.Network.Ip = ip
		} else {
			st.Network.AdditionalIps = append(st.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip})
		}
	}
	return st
}

// PodSandboxStatus implements RuntimeService.
func (s *Service) PodSandboxStatus(ctx context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	b, err := s.findSandbox(id)
	if err != nil {
		return nil, err
	}
	statuses, err := s.statusesOf(ctx, id, container.Status{})
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: s.sandboxStatus(b), ContainersStatuses: statuses,
		Timestamp: time.Now().UnixNano()}, nil
}

// ListPodSandbox implements RuntimeService.
func (s *Service) ListPodSandbox(_ context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*runtimeapi.PodSandbox
	for _, b := range s.sandboxes {
		if b.making || filter.GetId() != "" && filter.Id != b.ID || filter.GetState() != nil && filter.State.State != criState(b.State) ||
			!matches(filter.GetLabelSelector(), b.Config.Labels) {
			continue
		}
		all = append(all, &runtimeapi.PodSandbox{Id: b.ID, Metadata: b.Config.Metadata, State: criState(b.State),
			CreatedAt: stamp(b.CreatedAt), Labels: b.Config.Labels, Annotations: b.Config.Annotations, RuntimeHandler: b.RuntimeHandler})
	}
	slices.SortFunc(all, func(a, b *runtimeapi.PodSandbox) int { return int(b.CreatedAt - a.CreatedAt) })
	return all, nil
}

// matches tells whether labels have everything that a selector wants.
func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
