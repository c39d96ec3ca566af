package cri

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// mounts fills in spec.Mounts: the kernel's file systems, the pod's files, then what the pod asks for, outer folders first.
func mounts(spec *specs.Spec, in specInput, sc *runtimeapi.LinuxContainerSecurityContext) error {
	privileged := sc.GetPrivileged()
	sys := []string{"nosuid", "noexec", "nodev", "ro"}
	if privileged {
		sys[3] = "rw"
	}
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: sys},
		shmMount(in),
	}
	if privileged || mayHaveLimits(in, spec) {
		// It costs a fifth of a start on cgroup v1, so only those get it who can learn or do something there.
		all = append(all, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", sys[3]}})
	}
	rw := "rw"
	if sc.GetReadonlyRootfs() {
		rw = "ro"
	}
	for path, source := range map[string]string{"/etc/hostname": in.files.hostname, "/etc/resolv.conf": in.files.resolvConf,
		"/etc/hosts": in.files.hosts} {
		all = append(all, specs.Mount{Destination: path, Type: "bind", Source: source, Options: []string{"rbind", "rprivate", rw}})
	}
	shared, err := podMounts(in.config.Mounts)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(m specs.Mount) bool {
		return slices.ContainsFunc(shared, func(o specs.Mount) bool { return o.Destination == m.Destination })
	})
	all = append(all, shared...)
	slices.SortStableFunc(all, func(a, b specs.Mount) int {
		if d := depth(a.Destination) - depth(b.Destination); d != 0 {
			return d
		}
		return strings.Compare(a.Destination, b.Destination)
	})
	spec.Mounts = all
	for _, m := range all {
		switch {
		case slices.Contains(m.Options, "rshared"):
			spec.Linux.RootfsPropagation = "rshared"
		case slices.Contains(m.Options, "rslave") && spec.Linux.RootfsPropagation == "":
			spec.Linux.RootfsPropagation = "rslave"
		}
	}
	return nil
}

func depth(path string) int { return strings.Count(strings.TrimSuffix(path, "/"), "/") }

// shmMount is the pod's shared memory, or the host's with hostIPC.
func shmMount(in specInput) specs.Mount {
	options := []string{"nosuid", "noexec", "nodev", "mode=1777"}
	switch {
	case in.pod.Namespaces.Shm != "":
		return specs.Mount{Destination: "/dev/shm", Type: "bind", Source: in.pod.Namespaces.Shm, Options: []string{"rbind", "rprivate", "rw"}}
	case in.pod.namespaceOptions().Ipc == runtimeapi.NamespaceMode_NODE:
		return specs.Mount{Destination: "/dev/shm", Type: "bind", Source: "/dev/shm", Options: []string{"rbind", "rprivate", "rw"}}
	}
	return specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: append(options, "size=65536k")}
}

// bestEffort is the adjustment of the kernel's killer by which a kubelet marks a container that asked for nothing.
const bestEffort = 1000

// mayHaveLimits tells whether there is, or will be, a limit that programs would look for in their cgroup: a container that asked for something may be
// given limits while it runs, one that asked for nothing may not (KEP-1287: a resize keeps the pod's quality of service).
func mayHaveLimits(in specInput, spec *specs.Spec) bool {
	r, pod := spec.Linux.Resources, in.pod.Config.GetLinux().GetResources()
	return in.config.GetLinux().GetResources().GetOomScoreAdj() < bestEffort ||
		r.Memory != nil && r.Memory.Limit != nil || r.CPU != nil && r.CPU.Quota != nil && *r.CPU.Quota > 0 ||
		pod.GetMemoryLimitInBytes() > 0 || pod.GetCpuQuota() > 0
}

// podMounts translates what the pod mounts.
func podMounts(in []*runtimeapi.Mount) ([]specs.Mount, error) {
	var out []specs.Mount
	for _, m := range in {
		if m.Image.GetImage() != "" {
			one, err := imageMount(m)
			if err != nil {
				return nil, err
			}
			out = append(out, one)
			continue
		}
		if len(m.UidMappings)+len(m.GidMappings) > 0 {
			return nil, errkind.New(errkind.Invalid, "mount %s: id-mapped mounts are not supported", m.ContainerPath)
		}
		if m.ContainerPath == "" || m.HostPath == "" {
			return nil, errkind.New(errkind.Invalid, "mount needs a host path and a container path")
		}
		propagation := "rprivate"
		switch m.Propagation {
		case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
			propagation = "rslave"
		case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
			propagation = "rshared"
		}
		access := "rw"
		switch {
		case m.Readonly && m.RecursiveReadOnly:
			access = "rro"
		case m.Readonly:
			access = "ro"
		case m.RecursiveReadOnly:
			return nil, errkind.New(errkind.Invalid, "mount %s: recursive read-only needs read-only", m.ContainerPath)
		}
		options := append([]string{"rbind", propagation, access}, m.MountOptions...)
		out = append(out, specs.Mount{Destination: filepath.Clean("/" + m.ContainerPath), Type: "bind", Source: m.HostPath, Options: options})
	}
	return out, nil
}
