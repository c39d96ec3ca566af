package cri

import (
	"context"
	"errors"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func containerState(s container.State) runtimeapi.ContainerState {
	switch s {
	case container.Created:
		return runtimeapi.ContainerState_CONTAINER_CREATED
	case container.Running, container.Paused:
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	case container.Exited:
		return runtimeapi.ContainerState_CONTAINER_EXITED
	}
	return runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

// lost is what is said of a container that the runtime does not know (any more).
func lost(c *ctr) container.Status {
	return container.Status{ID: c.ID, State: container.Exited, ExitCode: 255, CreatedAt: c.CreatedAt, FinishedAt: c.CreatedAt,
		Error: "the runtime has lost this container"}
}

// config is the container's configuration at the moment.
func (s *Service) config(c *ctr) *runtimeapi.ContainerConfig {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.Config
}

// containerStatus joins what is recorded of a container and how the runtime says it stands.
func (s *Service) containerStatus(c *ctr, st container.Status) *runtimeapi.ContainerStatus {
	config := s.config(c)
	out := &runtimeapi.ContainerStatus{
		Id: c.ID, Metadata: config.Metadata, State: containerState(st.State), CreatedAt: stamp(c.CreatedAt),
		StartedAt: stamp(st.StartedAt), FinishedAt: stamp(st.FinishedAt), ExitCode: int32(st.ExitCode), Message: st.Error,
		Image: config.Image, ImageRef: c.ImageID, ImageId: c.ImageID, Labels: config.Labels, Annotations: config.Annotations,
		Mounts: config.Mounts, LogPath: c.LogPath, StopSignal: signalValue(c.StopSignal),
		Resources: &runtimeapi.ContainerResources{Linux: config.GetLinux().GetResources()},
	}
	if st.State != container.Exited {
		return out
	}
	switch {
	case st.OOMKilled:
		out.Reason = "OOMKilled"
	case st.Error != "" && st.StartedAt.IsZero() && st.ExitCode == 128:
		out.Reason = "StartError"
	case st.Error != "":
		out.Reason = "ContainerStatusUnknown"
	case st.ExitCode == 0:
		out.Reason = "Completed"
	default:
		out.Reason = "Error"
	}
	return out
}

// ContainerStatus implements RuntimeService.
func (s *Service) ContainerStatus(ctx context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := s.findContainer(id)
	if err != nil {
		return nil, err
	}
	st, err := s.runtime.Status(ctx, id)
	if errors.Is(err, errkind.NotFound) {
		st, err = lost(c), nil
	}
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerStatusResponse{Status: s.containerStatus(c, st)}, nil
}

// statusesOf tells how the containers of a pod stand, the oldest first. What is known of one of them already is not asked for again.
func (s *Service) statusesOf(ctx context.Context, sandboxID string, known container.Status) ([]*runtimeapi.ContainerStatus, error) {
	var out []*runtimeapi.ContainerStatus
	for _, c := range s.containersOf(sandboxID) {
		st := known
		if c.ID != known.ID {
			var err error
			st, err = s.runtime.Status(ctx, c.ID)
			if errors.Is(err, errkind.NotFound) {
				st, err = lost(c), nil
			}
			if err != nil {
				return nil, err
			}
		}
		out = append(out, s.containerStatus(c, st))
	}
	return out, nil
}

// standing asks the runtime for all its containers.
func (s *Service) standing(ctx context.Context) (map[string]container.Status, error) {
	list, err := s.runtime.List(ctx)
	if err != nil {
		return nil, err
	}
	now := make(map[string]container.Status, len(list))
	for _, st := range list {
		now[st.ID] = st
	}
	return now, nil
}

// ListContainers implements RuntimeService.
func (s *Service) ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	now, err := s.standing(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*runtimeapi.Container
	for _, c := range s.containers {
		st, ok := now[c.ID]
		if !ok {
			st = lost(c)
		}
		state := containerState(st.State)
		if filter.GetId() != "" && filter.Id != c.ID || filter.GetPodSandboxId() != "" && filter.PodSandboxId != c.SandboxID ||
			filter.GetState() != nil && filter.State.State != state || !matches(filter.GetLabelSelector(), c.Config.Labels) {
			continue
		}
		all = append(all, &runtimeapi.Container{Id: c.ID, PodSandboxId: c.SandboxID, Metadata: c.Config.Metadata, Image: c.Config.Image,
			ImageRef: c.ImageID, ImageId: c.ImageID, State: state, CreatedAt: stamp(c.CreatedAt), Labels: c.Config.Labels,
			Annotations: c.Config.Annotations})
	}
	slices.SortFunc(all, func(a, b *runtimeapi.Container) int { return int(b.CreatedAt - a.CreatedAt) })
	return all, nil
}

// signalName turns CRI's enumeration into the usual name: SIGNAL_SIGRTMINPLUS3 is SIGRTMIN+3.
func signalName(s runtimeapi.Signal) string {
	name := strings.TrimPrefix(s.String(), "SIGNAL_")
	return strings.NewReplacer("PLUS", "+", "MINUS", "-").Replace(name)
}

// signalValue is CRI's word for a signal number.
func signalValue(n int) runtimeapi.Signal {
	for value := range runtimeapi.Signal_name {
		if s := runtimeapi.Signal(value); s != runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT {
			if got, err := extras.ParseSignal(signalName(s)); err == nil && got == n {
				return s
			}
		}
	}
	return runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT
}
