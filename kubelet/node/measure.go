package node

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// maxImages is how many images a Node lists, the largest first.
const maxImages = 50

func (a *Agent) images(ctx context.Context) []corev1.ContainerImage {
	list, err := a.Images.ListImages(ctx, nil)
	if err != nil {
		return nil
	}
	out := []corev1.ContainerImage{}
	for _, image := range list {
		names := slices.Concat(image.RepoDigests, image.RepoTags)
		if len(names) > 0 {
			out = append(out, corev1.ContainerImage{Names: names, SizeBytes: int64(image.Size)})
		}
	}
	slices.SortFunc(out, func(a, b corev1.ContainerImage) int {
		return cmp.Or(-cmp.Compare(a.SizeBytes, b.SizeBytes), cmp.Compare(a.Names[0], b.Names[0]))
	})
	return out[:min(len(out), maxImages)]
}

// measure looks at the runtime and the machine.
func (a *Agent) measure(ctx context.Context) Health {
	var h Health
	if a.Synced != nil {
		select {
		case <-a.Synced:
		default:
			h.NotReady = append(h.NotReady, "the pods that ran before are not known yet")
		}
	}
	response, err := a.Runtime.Status(ctx, false)
	if err != nil {
		h.NotReady = append(h.NotReady, "container runtime is down: "+err.Error())
	} else {
		for _, c := range response.GetStatus().GetConditions() {
			if !c.Status {
				h.NotReady = append(h.NotReady, c.Type+" is false: "+cmp.Or(c.Message, c.Reason))
			}
		}
	}
	h.MemoryAvailable = meminfo()["MemAvailable"]
	var fs unix.Statfs_t
	if unix.Statfs(a.DataDir, &fs) == nil {
		h.DiskAvailable, h.DiskCapacity = int64(fs.Bavail)*fs.Bsize, int64(fs.Blocks)*fs.Bsize
		h.InodesFree, h.Inodes = int64(fs.Ffree), int64(fs.Files)
	}
	h.MaxPIDs = number("/proc/sys/kernel/pid_max")
	if fields := strings.Fields(text("/proc/loadavg")); len(fields) > 3 {
		_, total, _ := strings.Cut(fields[3], "/")
		h.PIDs, _ = strconv.ParseInt(total, 10, 64)
	}
	return h
}

func text(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func number(path string) int64 {
	n, _ := strconv.ParseInt(text(path), 10, 64)
	return n
}

// meminfo reads /proc/meminfo in bytes.
func meminfo() map[string]int64 {
	out := map[string]int64{}
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return out
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		fields := strings.Fields(strings.Replace(lines.Text(), ":", " ", 1))
		if len(fields) >= 2 {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			out[fields[0]] = n << 10
		}
	}
	return out
}

// Memory returns how much memory this machine has, and how much of it is free to use.
func Memory() (total, available int64) {
	info := meminfo()
	return info["MemTotal"], info["MemAvailable"]
}

// CPU returns the time that all of this machine's processors have worked.
func CPU() time.Duration {
	const tick = 10 * time.Millisecond
	fields := strings.Fields(strings.SplitN(text("/proc/stat"), "\n", 2)[0])
	var ticks int64
	for i, field := range fields {
		if i == 0 || i == 4 || i == 5 || i > 8 { // the label, idle, waiting, and what is counted elsewhere
			continue
		}
		n, _ := strconv.ParseInt(field, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * tick
}

// Capacity measures what this machine has.
func Capacity(dataDir string, pods int64) corev1.ResourceList {
	out := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(meminfo()["MemTotal"], resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(pods, resource.DecimalSI),
	}
	var fs unix.Statfs_t
	if unix.Statfs(dataDir, &fs) == nil {
		out[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(fs.Blocks)*fs.Bsize, resource.BinarySI)
	}
	return out
}

// Info describes this machine; runtimeVersion is such as "containerd://2.0.0".
func Info(version, runtimeVersion string) corev1.NodeSystemInfo {
	info := corev1.NodeSystemInfo{
		MachineID: text("/etc/machine-id"), BootID: text("/proc/sys/kernel/random/boot_id"), SystemUUID: text("/sys/class/dmi/id/product_uuid"),
		KernelVersion: text("/proc/sys/kernel/osrelease"), OSImage: osImage(), OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
		ContainerRuntimeVersion: runtimeVersion, KubeletVersion: version,
	}
	if info.SystemUUID == "" {
		info.SystemUUID = info.MachineID
	}
	return info
}

func osImage() string {
	for line := range strings.Lines(text("/etc/os-release")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "Linux"
}
