package cri

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// usageAge is how old the figure of a writable layer may be; it takes a walk through the layer.
const usageAge = 10 * time.Second

// usageCache keeps what statistics need from one call to the next.
type usageCache struct {
	mu    sync.Mutex
	disks map[string]diskUsage
	cpus  map[string]cpuUsage
}

type diskUsage struct {
	at   time.Time
	disk Disk
}

type cpuUsage struct {
	at    time.Time
	used  time.Duration
	cores uint64 // in billionths
}

func newUsageCache() *usageCache {
	return &usageCache{disks: map[string]diskUsage{}, cpus: map[string]cpuUsage{}}
}

func (u *usageCache) forget(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.disks, id)
	delete(u.cpus, id)
}

// rate returns the cores in use since the last call at least a second ago.
func (u *usageCache) rate(id string, at time.Time, used time.Duration) uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	last, ok := u.cpus[id]
	if ok && at.Sub(last.at) < time.Second {
		return last.cores
	}
	var cores uint64
	if ok && used >= last.used {
		cores = uint64(float64(used-last.used) / float64(at.Sub(last.at)) * 1e9)
	}
	u.cpus[id] = cpuUsage{at: at, used: used, cores: cores}
	return cores
}

func (s *Service) layerUsage(ctx context.Context, id string) (Disk, time.Time) {
	s.usage.mu.Lock()
	cached, ok := s.usage.disks[id]
	s.usage.mu.Unlock()
	if ok && time.Since(cached.at) < usageAge {
		return cached.disk, cached.at
	}
	now := time.Now()
	disk, err := s.images.RootFSUsage(ctx, id)
	if err != nil {
		return cached.disk, now
	}
	s.usage.mu.Lock()
	s.usage.disks[id] = diskUsage{at: now, disk: disk}
	s.usage.mu.Unlock()
	return disk, now
}

func value(n uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: n} }

// ContainerStats implements RuntimeService.
func (s *Service) ContainerStats(ctx context.Context, id string) (*runtimeapi.ContainerStats, error) {
	c, err := s.findContainer(id)
	if err != nil {
		return nil, err
	}
	return s.containerStats(ctx, c)
}

func (s *Service) containerStats(ctx context.Context, c *ctr) (*runtimeapi.ContainerStats, error) {
	config := s.config(c)
	out := &runtimeapi.ContainerStats{Attributes: &runtimeapi.ContainerAttributes{Id: c.ID, Metadata: config.Metadata,
		Labels: config.Labels, Annotations: config.Annotations}}
	disk, at := s.layerUsage(ctx, c.ID)
	out.WritableLayer = &runtimeapi.FilesystemUsage{Timestamp: at.UnixNano(), UsedBytes: value(disk.Bytes), InodesUsed: value(disk.Inodes),
		FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: disk.Path}}
	st, err := s.runtime.Stats(ctx, c.ID)
	if errors.Is(err, errkind.Precondition) || errors.Is(err, errkind.NotFound) {
		return out, nil // it does not run: nothing but its disk is used
	}
	if err != nil {
		return nil, err
	}
	when := st.Time.UnixNano()
	out.Cpu = &runtimeapi.CpuUsage{Timestamp: when, UsageCoreNanoSeconds: value(uint64(st.CPUUsage)),
		UsageNanoCores: value(s.usage.rate(c.ID, st.Time, st.CPUUsage))}
	out.Memory = &runtimeapi.MemoryUsage{Timestamp: when, WorkingSetBytes: value(st.MemoryWorkingSet), UsageBytes: value(st.MemoryUsage),
		RssBytes: value(st.MemoryRSS), PageFaults: value(st.PageFaults), MajorPageFaults: value(st.MajorPageFaults)}
	if limit := config.GetLinux().GetResources().GetMemoryLimitInBytes(); limit > 0 {
		out.Memory.AvailableBytes = value(uint64(max(limit-int64(st.MemoryWorkingSet), 0)))
	}
	return out, nil
}

// ListContainerStats implements RuntimeService.
func (s *Service) ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	list, err := s.ListContainers(ctx, &runtimeapi.ContainerFilter{Id: filter.GetId(), PodSandboxId: filter.GetPodSandboxId(),
		LabelSelector: filter.GetLabelSelector(), State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}})
	if err != nil {
		return nil, err
	}
	var out []*runtimeapi.ContainerStats
	for _, c := range list {
		st, err := s.ContainerStats(ctx, c.Id)
		if errors.Is(err, errkind.NotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	return out, nil
}

// PodSandboxStats implements RuntimeService: a pod's are the sum of its containers'.
func (s *Service) PodSandboxStats(ctx context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	b, err := s.findSandbox(id)
	if err != nil {
		return nil, err
	}
	now, err := s.standing(ctx)
	if err != nil {
		return nil, err
	}
	out := &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{Id: b.ID, Metadata: b.Config.Metadata, Labels: b.Config.Labels,
			Annotations: b.Config.Annotations},
		Linux: &runtimeapi.LinuxPodSandboxStats{},
	}
	var cpu, cores, working, usage, rss, faults, major, processes uint64
	for _, c := range s.containersOf(id) {
		if st := now[c.ID]; st.State != container.Running && st.State != container.Paused {
			continue
		}
		st, err := s.containerStats(ctx, c)
		if err != nil {
			return nil, err
		}
		out.Linux.Containers = append(out.Linux.Containers, st)
		cpu += st.GetCpu().GetUsageCoreNanoSeconds().GetValue()
		cores += st.GetCpu().GetUsageNanoCores().GetValue()
		working += st.GetMemory().GetWorkingSetBytes().GetValue()
		usage += st.GetMemory().GetUsageBytes().GetValue()
		rss += st.GetMemory().GetRssBytes().GetValue()
		faults += st.GetMemory().GetPageFaults().GetValue()
		major += st.GetMemory().GetMajorPageFaults().GetValue()
		if raw, err := s.runtime.Stats(ctx, c.ID); err == nil {
			processes += raw.Pids
		}
		if out.Linux.Network == nil && !b.hostNetwork() {
			out.Linux.Network = networkUsage(now[c.ID].Pid)
		}
	}
	at := time.Now().UnixNano()
	out.Linux.Cpu = &runtimeapi.CpuUsage{Timestamp: at, UsageCoreNanoSeconds: value(cpu), UsageNanoCores: value(cores)}
	out.Linux.Memory = &runtimeapi.MemoryUsage{Timestamp: at, WorkingSetBytes: value(working), UsageBytes: value(usage), RssBytes: value(rss),
		PageFaults: value(faults), MajorPageFaults: value(major)}
	out.Linux.Process = &runtimeapi.ProcessUsage{Timestamp: at, ProcessCount: value(processes)}
	return out, nil
}

// ListPodSandboxStats implements RuntimeService.
func (s *Service) ListPodSandboxStats(ctx context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	list, err := s.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{Id: filter.GetId(), LabelSelector: filter.GetLabelSelector(),
		State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}})
	if err != nil {
		return nil, err
	}
	var out []*runtimeapi.PodSandboxStats
	for _, b := range list {
		st, err := s.PodSandboxStats(ctx, b.Id)
		if errors.Is(err, errkind.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	return out, nil
}

// networkUsage reads the counters of a process's network namespace; nil if it is gone.
func networkUsage(pid int) *runtimeapi.NetworkUsage {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/net/dev")
	if err != nil {
		return nil
	}
	defer f.Close()
	out := &runtimeapi.NetworkUsage{Timestamp: time.Now().UnixNano()}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, rest, ok := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		fields := strings.Fields(rest)
		if !ok || name == "lo" || len(fields) < 16 {
			continue
		}
		number := func(i int) *runtimeapi.UInt64Value {
			n, _ := strconv.ParseUint(fields[i], 10, 64)
			return value(n)
		}
		usage := &runtimeapi.NetworkInterfaceUsage{Name: name, RxBytes: number(0), RxErrors: number(2), TxBytes: number(8), TxErrors: number(10)}
		if out.DefaultInterface == nil {
			out.DefaultInterface = usage
		} else {
			out.Interfaces = append(out.Interfaces, usage)
		}
	}
	return out
}
