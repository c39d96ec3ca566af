package criconfig

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// The kernel's units of cpu.
const (
	cpuPeriod    = 100_000 // microseconds
	minQuota     = 1000    // the kernel refuses less
	sharesPerCPU = 1024
	minShares    = 2
	maxShares    = 262_144
)

// linuxResources translates requests and limits to cgroup values: a cpu request is a weight, a cpu limit a quota, a
// memory limit a hard limit, with no swap beside it.
func linuxResources(r corev1.ResourceRequirements, limitCPU bool) *runtimeapi.LinuxContainerResources {
	out := &runtimeapi.LinuxContainerResources{CpuShares: minShares}
	cpuRequest, hasRequest := r.Requests[corev1.ResourceCPU]
	cpuLimit, hasLimit := r.Limits[corev1.ResourceCPU]
	switch {
	case hasRequest:
		out.CpuShares = shares(cpuRequest.MilliValue())
	case hasLimit:
		out.CpuShares = shares(cpuLimit.MilliValue())
	}
	if hasLimit && limitCPU && cpuLimit.MilliValue() > 0 {
		out.CpuPeriod = cpuPeriod
		out.CpuQuota = max(cpuLimit.MilliValue()*cpuPeriod/1000, minQuota)
	}
	if limit, ok := r.Limits[corev1.ResourceMemory]; ok && limit.Value() > 0 {
		out.MemoryLimitInBytes = limit.Value()
		out.MemorySwapLimitInBytes = limit.Value()
	}
	out.HugepageLimits = hugepages(r.Limits)
	return out
}

// Resources is what a container of these requests and limits is given.
func Resources(r corev1.ResourceRequirements, limitCPU bool) *runtimeapi.LinuxContainerResources {
	return linuxResources(r, limitCPU)
}

// Cgroup is the same, as what a runtime says of it can be compared.
func Cgroup(r corev1.ResourceRequirements, limitCPU bool) observe.Cgroup {
	return observe.CgroupOf(linuxResources(r, limitCPU))
}

// PodResources is what a pod as a whole is given.
func PodResources(pod *corev1.Pod) *runtimeapi.LinuxContainerResources { return podResources(pod) }

// Lifted is the same without a limit of cpu, for the time in which those of its containers change: some kernels refuse a container more
// than its pod, and a pod less than its containers.
func Lifted(pod *corev1.Pod) *runtimeapi.LinuxContainerResources {
	out := podResources(pod)
	out.CpuPeriod, out.CpuQuota = cpuPeriod, -1
	return out
}

func shares(milli int64) int64 {
	return min(max(milli*sharesPerCPU/1000, minShares), maxShares)
}

func hugepages(limits corev1.ResourceList) []*runtimeapi.HugepageLimit {
	var out []*runtimeapi.HugepageLimit
	for name, quantity := range limits {
		size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
		if !ok {
			continue
		}
		pageSize := strings.NewReplacer("Ki", "KB", "Mi", "MB", "Gi", "GB").Replace(size)
		out = append(out, &runtimeapi.HugepageLimit{PageSize: pageSize, Limit: uint64(quantity.Value())})
	}
	slices.SortFunc(out, func(a, b *runtimeapi.HugepageLimit) int { return strings.Compare(a.PageSize, b.PageSize) })
	return out
}
