package cri

import (
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Host is what this machine's kernel offers to containers.
type Host struct {
	BootID       string
	Unified      bool // cgroup v2
	Swap         bool // swap can be limited
	HugePages    bool // huge pages can be limited
	Capabilities []string
	AppArmor     bool
}

func probeHost() Host {
	h := Host{Capabilities: allCapabilities()}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		h.BootID = strings.TrimSpace(string(id))
	}
	controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err == nil {
		h.Unified = true
		h.HugePages = strings.Contains(string(controllers), "hugetlb")
		h.Swap = exists("/proc/swaps")
	} else {
		h.HugePages = exists("/sys/fs/cgroup/hugetlb/cgroup.procs")
		h.Swap = exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	}
	if on, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err == nil {
		h.AppArmor = strings.HasPrefix(string(on), "Y")
	}
	return h
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// allCapabilities lists what the kernel knows, in OCI's spelling.
func allCapabilities() []string {
	last := int(capability.CAP_CHECKPOINT_RESTORE)
	if text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			last = min(last, n)
		}
	}
	var all []string
	for c := 0; c <= last; c++ {
		all = append(all, "CAP_"+strings.ToUpper(capability.Cap(c).String()))
	}
	return all
}

// resources translates limits, leaving out what this kernel cannot do.
func (h Host) resources(in *runtimeapi.LinuxContainerResources) *specs.LinuxResources {
	out := &specs.LinuxResources{}
	if in == nil {
		return out
	}
	cpu := &specs.LinuxCPU{Cpus: in.CpusetCpus, Mems: in.CpusetMems}
	if in.CpuShares > 0 {
		shares := uint64(max(in.CpuShares, 2))
		cpu.Shares = &shares
	}
	if in.CpuQuota != 0 {
		quota := in.CpuQuota
		cpu.Quota = &quota
	}
	if in.CpuPeriod > 0 {
		period := uint64(in.CpuPeriod)
		cpu.Period = &period
	}
	if *cpu != (specs.LinuxCPU{}) {
		out.CPU = cpu
	}
	if limit := in.MemoryLimitInBytes; limit > 0 {
		out.Memory = &specs.LinuxMemory{Limit: &limit}
		if swap := in.MemorySwapLimitInBytes; h.Swap {
			if swap <= 0 {
				swap = limit // no swap beyond memory
			}
			out.Memory.Swap = &swap
		}
	}
	if h.HugePages {
		for _, l := range in.HugepageLimits {
			out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: l.PageSize, Limit: l.Limit})
		}
	}
	if h.Unified && len(in.Unified) > 0 {
		out.Unified = in.Unified
	}
	return out
}
