package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// defaultShm is the size of a pod's /dev/shm.
const defaultShm = 64 << 20

// namespaceOptions never returns nil. Who says nothing wants pid namespaces of the containers' own, though CRI's zero value is a shared one.
func (r *sandboxRecord) namespaceOptions() *runtimeapi.NamespaceOption {
	if o := r.Config.GetLinux().GetSecurityContext().GetNamespaceOptions(); o != nil {
		return o
	}
	return &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
}

func (r *sandboxRecord) hostNetwork() bool {
	return r.namespaceOptions().Network == runtimeapi.NamespaceMode_NODE
}

func (r *sandboxRecord) podNetwork() PodNetwork {
	m := r.Config.Metadata
	p := PodNetwork{ID: r.ID, Namespace: m.Namespace, Name: m.Name, UID: m.Uid, Hostname: r.Config.Hostname,
		HostNetwork: r.hostNetwork(), Annotations: r.Config.Annotations}
	for _, m := range r.Config.PortMappings {
		if m.HostPort <= 0 {
			continue
		}
		p.PortMappings = append(p.PortMappings, PortMapping{HostIP: m.HostIp, HostPort: uint16(m.HostPort),
			ContainerPort: uint16(m.ContainerPort), Protocol: m.Protocol.String()})
	}
	return p
}

// RunPodSandbox implements RuntimeService. A second call for the same pod and attempt returns the sandbox that is there.
func (s *Service) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	return s.runSandbox(ctx, config, handler, 0)
}

func (s *Service) runSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string, shmSize int64) (string, error) {
	if err := validateSandbox(config, handler); err != nil {
		return "", err
	}
	b := &sandbox{making: true, sandboxRecord: sandboxRecord{ID: newID(), Config: config, RuntimeHandler: handler, CreatedAt: time.Now(),
		State: sandboxNotReady, BootID: s.host.BootID, Cgroup: s.podCgroup(config), ShmSize: shmSize}}
	b.op.Lock()
	defer b.op.Unlock()
	s.mu.Lock()
	for _, other := range s.sandboxes {
		if proto.Equal(other.Config.Metadata, config.Metadata) {
			s.mu.Unlock()
			return s.reuse(other)
		}
	}
	s.sandboxes[b.ID] = b
	s.mu.Unlock()
	defer s.made(b)
	err := writeRecord(s.sandboxDir(b.ID), b.sandboxRecord)
	if err == nil {
		err = s.makeSandbox(ctx, b)
	}
	if err == nil {
		s.setState(b, sandboxReady)
		err = writeRecord(s.sandboxDir(b.ID), b.sandboxRecord)
	}
	if err != nil {
		err = fmt.Errorf("set up pod %s/%s: %w", config.Metadata.Namespace, config.Metadata.Name, err)
		s.setState(b, sandboxNotReady)
		undo := s.unmakeSandbox(context.WithoutCancel(ctx), b)
		if undo == nil {
			undo = s.dropSandbox(b)
		}
		return "", errors.Join(err, undo)
	}
	s.made(b)
	s.news.publish(notice{sandbox: b.ID, kind: runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT})
	return b.ID, nil
}

// made shows a sandbox to everybody.
func (s *Service) made(b *sandbox) {
	s.mu.Lock()
	b.making = false
	s.mu.Unlock()
}

func (s *Service) setState(b *sandbox, state sandboxState) {
	s.mu.Lock()
	b.State = state
	s.mu.Unlock()
}

// reuse answers a repeated RunPodSandbox, once the first is done.
func (s *Service) reuse(b *sandbox) (string, error) {
	b.op.Lock()
	defer b.op.Unlock()
	if b.State != sandboxReady {
		return "", errkind.New(errkind.Conflict, "a stopped sandbox %s has the name of pod %s/%s; remove it first", b.ID,
			b.Config.Metadata.Namespace, b.Config.Metadata.Name)
	}
	return b.ID, nil
}

func validateSandbox(config *runtimeapi.PodSandboxConfig, handler string) error {
	switch {
	case config.GetMetadata() == nil || config.Metadata.Name == "" || config.Metadata.Namespace == "" || config.Metadata.Uid == "":
		return errkind.New(errkind.Invalid, "a pod sandbox needs a name, a namespace and a uid")
	case handler != "":
		return errkind.New(errkind.Invalid, "runtime handler %q is not known; leave runtimeClassName's handler empty", handler)
	case config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions().GetMode() == runtimeapi.NamespaceMode_POD &&
		config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetUsernsOptions() != nil:
		return errkind.New(errkind.Invalid, "user namespaces (hostUsers: false) are not supported")
	}
	for _, part := range strings.Split(config.GetLinux().GetCgroupParent(), "/") {
		if part == ".." {
			return errkind.New(errkind.Invalid, "cgroup parent %q must not contain \"..\"", config.Linux.CgroupParent)
		}
	}
	return nil
}

// podCgroup is the parent of the cgroups of a pod's containers.
func (s *Service) podCgroup(config *runtimeapi.PodSandboxConfig) string {
	if parent := config.GetLinux().GetCgroupParent(); parent != "" {
		return filepath.Join("/", parent)
	}
	return filepath.Join("/", s.cfg.CgroupRoot, "pod"+config.Metadata.Uid)
}

func (s *Service) findSandbox(id string) (*sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.sandboxes[id]; ok {
		return b, nil
	}
	return nil, errkind.New(errkind.NotFound, "pod sandbox %q not found", id)
}

// StopPodSandbox implements RuntimeService.
func (s *Service) StopPodSandbox(ctx context.Context, id string) error {
	b, err := s.findSandbox(id)
	if err != nil {
		return nil
	}
	b.op.Lock()
	defer b.op.Unlock()
	return s.stopSandbox(ctx, b)
}

// stopSandbox kills the pod's containers and takes down what they share; its caller holds b.op.
func (s *Service) stopSandbox(ctx context.Context, b *sandbox) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, c := range s.containersOf(b.ID) {
		group.Go(func() error { return s.kill(gctx, c.ID) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("stop pod sandbox %s: %w", b.ID, err)
	}
	was := b.State
	s.setState(b, sandboxNotReady)
	if err := s.unmakeSandbox(ctx, b); err != nil {
		return fmt.Errorf("stop pod sandbox %s: %w", b.ID, err)
	}
	if err := writeRecord(s.sandboxDir(b.ID), b.sandboxRecord); err != nil {
		return err
	}
	if was == sandboxReady {
		s.news.publish(notice{sandbox: b.ID, kind: runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT})
	}
	return nil
}

// unmakeSandbox undoes makeSandbox, as far as it came.
func (s *Service) unmakeSandbox(ctx context.Context, b *sandbox) error {
	var errs []error
	if b.PidHolder != "" {
		errs = append(errs, s.runtime.Delete(ctx, b.PidHolder, true))
	}
	if err := s.network.Teardown(ctx, b.podNetwork()); err != nil && !errors.Is(err, errkind.NotFound) {
		errs = append(errs, fmt.Errorf("tear down network: %w", err))
	}
	errs = append(errs, s.runtime.RemoveNamespaces(ctx, b.ID))
	return errors.Join(errs...)
}

// RemovePodSandbox implements RuntimeService.
func (s *Service) RemovePodSandbox(ctx context.Context, id string) error {
	b, err := s.findSandbox(id)
	if err != nil {
		return nil
	}
	b.op.Lock()
	defer b.op.Unlock()
	for _, c := range s.containersOf(id) {
		if err := s.RemoveContainer(ctx, c.ID); err != nil {
			return fmt.Errorf("remove pod sandbox %s: %w", id, err)
		}
	}
	if err := s.stopSandbox(ctx, b); err != nil {
		return err
	}
	return s.dropSandbox(b)
}

// dropSandbox forgets a pod.
func (s *Service) dropSandbox(b *sandbox) error {
	if err := os.RemoveAll(s.sandboxDir(b.ID)); err != nil {
		return fmt.Errorf("remove pod sandbox %s: %w", b.ID, err)
	}
	s.mu.Lock()
	delete(s.sandboxes, b.ID)
	s.mu.Unlock()
	s.news.publish(notice{sandbox: b.ID, kind: runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, last: s.sandboxStatus(b)})
	return nil
}

// containersOf lists a pod's containers, the oldest first.
func (s *Service) containersOf(sandboxID string) []*ctr {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*ctr
	for _, c := range s.containers {
		if c.SandboxID == sandboxID {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *ctr) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return all
}

// UpdatePodSandboxResources implements RuntimeService: the pod's cgroup gets new limits.
func (s *Service) UpdatePodSandboxResources(ctx context.Context, r *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	b, err := s.findSandbox(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	b.op.Lock()
	defer b.op.Unlock()
	if b.Config.Linux == nil {
		b.Config.Linux = &runtimeapi.LinuxPodSandboxConfig{}
	}
	if r.Resources != nil {
		b.Config.Linux.Resources = r.Resources
	}
	if r.Overhead != nil {
		b.Config.Linux.Overhead = r.Overhead
	}
	if _, err := s.runtime.MakeNamespaces(ctx, s.namespaceSpec(b)); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, writeRecord(s.sandboxDir(b.ID), b.sandboxRecord)
}
