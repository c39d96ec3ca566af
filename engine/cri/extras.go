package cri

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
)

// What CRI has no fields for comes through the two calls in this file, as Go values, from a kubelet in the same process. Annotations of CRI are
// anybody's words, and ask for nothing here.

// RunSandbox is RunPodSandbox for a pod that asks for extras.
func (s *Service) RunSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string, asked extras.Document) (string, error) {
	return s.runSandbox(ctx, config, handler, asked.ShmSize)
}

// MakeContainer is CreateContainer for a container that asks for extras.
func (s *Service) MakeContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, asked extras.Container) (string, error) {
	return s.makeContainer(ctx, sandboxID, config, asked)
}

// rlimits translates ulimits, sorted by name; -1 becomes the kernel's word for no limit.
func rlimits(limits map[string]extras.Ulimit) []specs.POSIXRlimit {
	var out []specs.POSIXRlimit
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		l := limits[name]
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(name), Soft: uint64(l.Soft), Hard: uint64(l.Hard)})
	}
	return out
}

// extraDevices translates devices to what CRI calls them.
func extraDevices(devices []extras.Device) []*runtimeapi.Device {
	var out []*runtimeapi.Device
	for _, d := range devices {
		out = append(out, &runtimeapi.Device{HostPath: d.Host, ContainerPath: d.Path, Permissions: d.Access})
	}
	return out
}

// addExtras lays what is asked for over the limits that CRI's fields make.
func addExtras(out *specs.LinuxResources, x extras.Container) {
	if limit := x.PidsLimit; limit != 0 {
		out.Pids = &specs.LinuxPids{Limit: &limit}
	}
	if x.CPU != nil {
		if out.CPU == nil {
			out.CPU = &specs.LinuxCPU{}
		}
		if shares := uint64(x.CPU.Shares); shares > 0 {
			out.CPU.Shares = &shares
		}
		if x.CPU.Set != "" {
			out.CPU.Cpus = x.CPU.Set
		}
	}
	if x.Memory != nil {
		if out.Memory == nil {
			out.Memory = &specs.LinuxMemory{}
		}
		if swap := x.Memory.Swap; swap != 0 {
			out.Memory.Swap = &swap
		}
		if x.Memory.Swappiness != nil {
			out.Memory.Swappiness = x.Memory.Swappiness
		}
	}
}
