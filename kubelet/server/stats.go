package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/cuppa-project/cuppa/kubelet/node"
	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// summary answers with what the node and its pods use, as kubectl top and the metrics server read it.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	list, err := s.Runtime.ListContainerStats(r.Context(), nil)
	if err != nil {
		fail(w, err)
		return
	}
	out := stats.Summary{Node: s.nodeStats(), Pods: podStats(list)}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(out); err != nil {
		s.Logger.Debug("cannot send stats", "err", err)
	}
}

func (s *Server) nodeStats() stats.NodeStats {
	out := stats.NodeStats{NodeName: s.NodeName}
	var fs unix.Statfs_t
	if unix.Statfs(s.DataDir, &fs) == nil {
		available, capacity := fs.Bavail*uint64(fs.Bsize), fs.Blocks*uint64(fs.Bsize)
		used := capacity - fs.Bfree*uint64(fs.Bsize)
		out.Fs = &stats.FsStats{Time: metav1.Now(), AvailableBytes: &available, CapacityBytes: &capacity, UsedBytes: &used}
	}
	total, available := node.Memory()
	free, used := uint64(available), uint64(total-available)
	out.Memory = &stats.MemoryStats{Time: metav1.Now(), AvailableBytes: &free, UsageBytes: &used, WorkingSetBytes: &used}
	worked := uint64(node.CPU())
	out.CPU = &stats.CPUStats{Time: metav1.Now(), UsageCoreNanoSeconds: &worked}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		out.StartTime = metav1.NewTime(time.Now().Add(-time.Duration(info.Uptime) * time.Second).Truncate(time.Second))
	}
	return out
}

func podStats(list []*runtimeapi.ContainerStats) []stats.PodStats {
	byPod := map[observe.Key]*stats.PodStats{}
	for _, c := range list {
		labels := c.GetAttributes().GetLabels()
		key := observe.Key{Namespace: labels[observe.LabelPodNamespace], Name: labels[observe.LabelPodName]}
		pod, ok := byPod[key]
		if !ok {
			pod = &stats.PodStats{PodRef: stats.PodReference{Name: key.Name, Namespace: key.Namespace, UID: labels[observe.LabelPodUID]}}
			byPod[key] = pod
		}
		pod.Containers = append(pod.Containers, containerStats(c, labels[observe.LabelContainerName]))
	}
	out := []stats.PodStats{}
	for _, pod := range byPod {
		total(pod)
		out = append(out, *pod)
	}
	slices.SortFunc(out, func(a, b stats.PodStats) int {
		return cmp.Or(cmp.Compare(a.PodRef.Namespace, b.PodRef.Namespace), cmp.Compare(a.PodRef.Name, b.PodRef.Name))
	})
	return out
}

func containerStats(c *runtimeapi.ContainerStats, name string) stats.ContainerStats {
	out := stats.ContainerStats{Name: name}
	if cpu := c.GetCpu(); cpu != nil {
		out.CPU = &stats.CPUStats{Time: at(cpu.Timestamp), UsageCoreNanoSeconds: value(cpu.UsageCoreNanoSeconds), UsageNanoCores: value(cpu.UsageNanoCores)}
	}
	if memory := c.GetMemory(); memory != nil {
		out.Memory = &stats.MemoryStats{
			Time: at(memory.Timestamp), WorkingSetBytes: value(memory.WorkingSetBytes), UsageBytes: value(memory.UsageBytes),
			RSSBytes: value(memory.RssBytes), AvailableBytes: value(memory.AvailableBytes),
			PageFaults: value(memory.PageFaults), MajorPageFaults: value(memory.MajorPageFaults),
		}
	}
	if layer := c.GetWritableLayer(); layer != nil {
		out.Rootfs = &stats.FsStats{Time: at(layer.Timestamp), UsedBytes: value(layer.UsedBytes), InodesUsed: value(layer.InodesUsed)}
	}
	return out
}

func value(v *runtimeapi.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	return &v.Value
}

func at(nanos int64) metav1.Time { return metav1.NewTime(time.Unix(0, nanos)) }

// total adds up a pod's containers.
func total(pod *stats.PodStats) {
	var cpu, cores, memory uint64
	var when metav1.Time
	for _, c := range pod.Containers {
		if c.CPU != nil {
			cpu, cores, when = cpu+of(c.CPU.UsageCoreNanoSeconds), cores+of(c.CPU.UsageNanoCores), c.CPU.Time
		}
		if c.Memory != nil {
			memory += of(c.Memory.WorkingSetBytes)
		}
	}
	pod.CPU = &stats.CPUStats{Time: when, UsageCoreNanoSeconds: &cpu, UsageNanoCores: &cores}
	pod.Memory = &stats.MemoryStats{Time: when, WorkingSetBytes: &memory}
}

func of(v *uint64) uint64 {
	if v == nil {
		return 0
	}
	return *v
}

// containerMetrics answers with what containers use, in Prometheus form and under the names that dashboards know.
func (s *Server) containerMetrics(w http.ResponseWriter, r *http.Request) {
	list, err := s.Runtime.ListContainerStats(r.Context(), nil)
	if err != nil {
		fail(w, err)
		return
	}
	families := []struct {
		name, kind, help string
		value            func(*runtimeapi.ContainerStats) (float64, bool)
	}{
		{"container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", func(c *runtimeapi.ContainerStats) (float64, bool) {
			v := c.GetCpu().GetUsageCoreNanoSeconds()
			return float64(v.GetValue()) / 1e9, v != nil
		}},
		{"container_memory_working_set_bytes", "gauge", "Current working set in bytes.", func(c *runtimeapi.ContainerStats) (float64, bool) {
			v := c.GetMemory().GetWorkingSetBytes()
			return float64(v.GetValue()), v != nil
		}},
		{"container_memory_usage_bytes", "gauge", "Current memory usage in bytes, all memory regardless of when it was accessed.", func(c *runtimeapi.ContainerStats) (float64, bool) {
			v := c.GetMemory().GetUsageBytes()
			return float64(v.GetValue()), v != nil
		}},
		{"container_fs_usage_bytes", "gauge", "Bytes that the container uses on the file system.", func(c *runtimeapi.ContainerStats) (float64, bool) {
			v := c.GetWritableLayer().GetUsedBytes()
			return float64(v.GetValue()), v != nil
		}},
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	var b strings.Builder
	for _, f := range families {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		for _, c := range list {
			labels := c.GetAttributes().GetLabels()
			if v, ok := f.value(c); ok {
				fmt.Fprintf(&b, "%s{container=%q,namespace=%q,pod=%q} %g\n", f.name, labels[observe.LabelContainerName],
					labels[observe.LabelPodNamespace], labels[observe.LabelPodName], v)
			}
		}
	}
	_, _ = w.Write([]byte(b.String())) // a scraper that went away asks again
}
