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

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// defaultShm is the size of a pod's /dev/shm.
const defaultShm = 64 << 20

// namespaceOptions never returns nil.
func (r *sandboxRecord) namespaceOptions() *runtimeapi.NamespaceOption {
	if o := r.Config.GetLinux().GetSecurityContext().GetNamespaceOptions(); o != nil {
		return o
	}
	return &runtimeapi.NamespaceOption{}
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
	if err := validateSandbox(config, handler); err != nil {
		return "", err
	}
	b := &sandbox{sandboxRecord: sandboxRecord{ID: newID(), Config: config, RuntimeHandler: handler, CreatedAt: time.Now(),
		State: sandboxNotReady, BootID: s.host.BootID, Cgroup: s.podCgroup(config)}}
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
	s.news.publish(notice{sandbox: b.ID, kind: runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT})
	return b.ID, nil
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

// makeSandbox makes what the pod's containers share. Its parts do not depend on each other, so they are made together.
func (s *Service) makeSandbox(ctx context.Context, b *sandbox) error {
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		addresses, err := s.network.Setup(gctx, b.podNetwork())
		if err != nil {
			return fmt.Errorf("set up network: %w", err)
		}
		b.Addresses = addresses
		return nil
	})
	group.Go(func() error {
		namespaces, err := s.runtime.MakeNamespaces(gctx, s.namespaceSpec(b))
		b.Namespaces = namespaces
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.writeFiles(b); err != nil {
		return err
	}
	if b.namespaceOptions().Pid == runtimeapi.NamespaceMode_POD {
		return s.holdPids(ctx, b)
	}
	return nil
}

func (s *Service) namespaceSpec(b *sandbox) container.NamespaceSpec {
	spec := container.NamespaceSpec{ID: b.ID, Hostname: b.Config.Hostname, UTS: !b.hostNetwork(),
		IPC: b.namespaceOptions().Ipc != runtimeapi.NamespaceMode_NODE, Cgroup: b.Cgroup}
	if spec.IPC {
		spec.ShmSize = defaultShm
		if size, ok := sizeAnnotation(b.Config.Annotations[api.AnnotationShmSize]); ok {
			spec.ShmSize = size
		}
	}
	if r := podResources(b.Config.GetLinux()); r != nil {
		spec.Resources = s.host.resources(r)
	}
	return spec
}

// podResources is the sum of what the pod's containers and the pod itself may use, or nil if it is not limited.
func podResources(linux *runtimeapi.LinuxPodSandboxConfig) *runtimeapi.LinuxContainerResources {
	r := linux.GetResources()
	if r == nil {
		return nil
	}
	sum := proto.Clone(r).(*runtimeapi.LinuxContainerResources)
	if o := linux.GetOverhead(); o != nil {
		if sum.CpuQuota > 0 && sum.CpuPeriod == max(o.CpuPeriod, sum.CpuPeriod) {
			sum.CpuQuota += max(o.CpuQuota, 0)
		}
		sum.CpuShares += o.CpuShares
		if sum.MemoryLimitInBytes > 0 {
			sum.MemoryLimitInBytes += o.MemoryLimitInBytes
		}
	}
	return sum
}

// writeFiles writes the files that are mounted into every container of the pod.
func (s *Service) writeFiles(b *sandbox) error {
	hostname := b.Config.Hostname
	if hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("read host name: %w", err)
		}
		hostname = name
	}
	resolv, err := resolvConf(b.Config.DnsConfig)
	if err != nil {
		return err
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	for _, ip := range b.Addresses.IPs {
		hosts += ip + "\t" + hostname + "\n"
	}
	for name, text := range map[string]string{"hostname": hostname + "\n", "resolv.conf": resolv, "hosts": hosts} {
		path := filepath.Join(s.sandboxDir(b.ID), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write pod file: %w", err)
		}
	}
	return nil
}

// resolvConf writes DNS settings out, or copies the host's if there are none.
func resolvConf(dns *runtimeapi.DNSConfig) (string, error) {
	if len(dns.GetServers())+len(dns.GetSearches())+len(dns.GetOptions()) == 0 {
		text, err := os.ReadFile("/etc/resolv.conf")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("read host's resolv.conf: %w", err)
		}
		return string(text), nil
	}
	var text strings.Builder
	for _, server := range dns.Servers {
		fmt.Fprintf(&text, "nameserver %s\n", server)
	}
	if len(dns.Searches) > 0 {
		fmt.Fprintf(&text, "search %s\n", strings.Join(dns.Searches, " "))
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&text, "options %s\n", strings.Join(dns.Options, " "))
	}
	return text.String(), nil
}

// labelHolder marks the runtime's container that holds a pod's pid namespace; it is none of the pod's containers.
const labelHolder = "engine.cuppa.dev/pid-holder"

// holdPids starts the process whose pid namespace the pod's containers join: a reaper in an empty root, without any rights.
func (s *Service) holdPids(ctx context.Context, b *sandbox) error {
	root := filepath.Join(s.sandboxDir(b.ID), "root")
	for _, dir := range []string{"dev", "proc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return fmt.Errorf("make empty root: %w", err)
		}
	}
	id := "pids-" + b.ID
	spec := container.Spec{
		ID: id, Init: true, Labels: map[string]string{labelHolder: b.ID},
		RootFS: []container.Mount{{Type: "bind", Source: root, Options: []string{"bind", "ro"}}},
		OCI: &specs.Spec{
			Version: specs.Version,
			Root:    &specs.Root{Readonly: true},
			Process: &specs.Process{Cwd: "/", User: specs.User{UID: 65535, GID: 65535}, NoNewPrivileges: true,
				Capabilities: &specs.LinuxCapabilities{}},
			Mounts: []specs.Mount{
				{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
				{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			},
			Linux: &specs.Linux{
				CgroupsPath: filepath.Join(b.Cgroup, id),
				Resources:   &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
				Namespaces:  append([]specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}}, joined(b)...),
			},
		},
	}
	if err := s.runtime.Create(ctx, spec); err != nil && !errors.Is(err, errkind.Exists) {
		return fmt.Errorf("make shared pid namespace: %w", err)
	}
	b.PidHolder = id
	if err := s.runtime.Start(ctx, id); err != nil {
		return fmt.Errorf("make shared pid namespace: %w", err)
	}
	return nil
}

// joined are the namespaces that containers of the pod join. Those of the host are left out of an OCI specification.
func joined(b *sandbox) []specs.LinuxNamespace {
	var out []specs.LinuxNamespace
	if b.Addresses.NetNSPath != "" {
		out = append(out, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: b.Addresses.NetNSPath})
	}
	if b.Namespaces.IPC != "" {
		out = append(out, specs.LinuxNamespace{Type: specs.IPCNamespace, Path: b.Namespaces.IPC})
	}
	if b.Namespaces.UTS != "" {
		out = append(out, specs.LinuxNamespace{Type: specs.UTSNamespace, Path: b.Namespaces.UTS})
	}
	return out
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
