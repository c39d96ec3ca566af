package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

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
		if b.ShmSize > 0 {
			spec.ShmSize = b.ShmSize
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
