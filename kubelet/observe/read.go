package observe

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Read asks the runtime for everything it has of one pod.
func Read(ctx context.Context, runtime cri.RuntimeService, key Key) (Pod, error) {
	selector := map[string]string{LabelPodUID: string(key.UID)}
	sandboxes, err := runtime.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{LabelSelector: selector})
	if err != nil {
		return Pod{}, fmt.Errorf("list sandboxes of pod %s/%s: %w", key.Namespace, key.Name, err)
	}
	pod := Pod{Key: key}
	whole := len(sandboxes) > 0
	for _, sandbox := range sandboxes {
		response, err := runtime.PodSandboxStatus(ctx, sandbox.Id, false)
		if err != nil || response.GetStatus() == nil {
			continue // it went away between the two calls
		}
		pod.Sandboxes = append(pod.Sandboxes, fromSandbox(response.Status))
		// A runtime that puts a time on its answer tells about the containers in it too, which saves asking for each.
		if response.Timestamp == 0 {
			whole = false
			continue
		}
		for _, status := range response.ContainersStatuses {
			pod.Containers = append(pod.Containers, fromContainer(status, sandbox.Id))
		}
	}
	if !whole {
		if pod.Containers, err = readContainers(ctx, runtime, key, selector); err != nil {
			return Pod{}, err
		}
	}
	pod.sort()
	return pod, nil
}

func readContainers(ctx context.Context, runtime cri.RuntimeService, key Key, selector map[string]string) ([]Container, error) {
	containers, err := runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list containers of pod %s/%s: %w", key.Namespace, key.Name, err)
	}
	var out []Container
	for _, container := range containers {
		response, err := runtime.ContainerStatus(ctx, container.Id, false)
		if err != nil || response.GetStatus() == nil {
			continue
		}
		out = append(out, fromContainer(response.Status, container.PodSandboxId))
	}
	return out, nil
}

// Keys lists every pod that the runtime has something of.
func Keys(ctx context.Context, runtime cri.RuntimeService) ([]Key, error) {
	sandboxes, err := runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	containers, err := runtime.ListContainers(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	seen := map[Key]bool{}
	for _, s := range sandboxes {
		seen[keyOf(s.Labels)] = true
	}
	for _, c := range containers {
		seen[keyOf(c.Labels)] = true
	}
	var keys []Key
	for key := range seen {
		if key.UID != "" {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Compare(a.UID, b.UID) })
	return keys, nil
}

func keyOf(labels map[string]string) Key {
	return Key{UID: types.UID(labels[LabelPodUID]), Namespace: labels[LabelPodNamespace], Name: labels[LabelPodName]}
}

func (p *Pod) sort() {
	slices.SortFunc(p.Sandboxes, func(a, b Sandbox) int {
		return cmp.Or(-cmp.Compare(a.Attempt, b.Attempt), -a.CreatedAt.Compare(b.CreatedAt))
	})
	slices.SortFunc(p.Containers, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), -cmp.Compare(a.Attempt, b.Attempt), -a.CreatedAt.Compare(b.CreatedAt))
	})
}

func fromSandbox(s *runtimeapi.PodSandboxStatus) Sandbox {
	out := Sandbox{
		ID: s.Id, Attempt: s.GetMetadata().GetAttempt(), Ready: s.State == runtimeapi.PodSandboxState_SANDBOX_READY,
		CreatedAt: stamp(s.CreatedAt),
		HostNet:   s.GetLinux().GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE,
	}
	if network := s.GetNetwork(); network.GetIp() != "" && !out.HostNet {
		out.IPs = append(out.IPs, network.Ip)
		for _, ip := range network.AdditionalIps {
			out.IPs = append(out.IPs, ip.Ip)
		}
	}
	return out
}

func fromContainer(c *runtimeapi.ContainerStatus, sandboxID string) Container {
	out := Container{
		ID: c.Id, Name: c.Labels[LabelContainerName], Attempt: c.GetMetadata().GetAttempt(), SandboxID: sandboxID,
		State: stateOf(c.State), Hash: c.Annotations[AnnotationHash],
		CreatedAt: stamp(c.CreatedAt), StartedAt: stamp(c.StartedAt), FinishedAt: stamp(c.FinishedAt),
		ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message,
		Image: c.GetImage().GetImage(), ImageID: c.ImageRef, LogPath: c.LogPath,
		Cgroup: CgroupOf(c.GetResources().GetLinux()),
	}
	if out.Name == "" {
		out.Name = c.GetMetadata().GetName()
	}
	if user := c.GetImage().GetUserSpecifiedImage(); user != "" {
		out.Image = user
	}
	if linux := c.GetUser().GetLinux(); linux != nil {
		out.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: linux.Uid, GID: linux.Gid, SupplementalGroups: linux.SupplementalGroups}}
	}
	if out.State == Exited && out.StartedAt.After(time.Unix(0, 0)) {
		out.Message = terminationMessage(c, out.Message)
	}
	return out
}

func stateOf(s runtimeapi.ContainerState) State {
	switch s {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return Created
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return Running
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return Exited
	default:
		return Unknown
	}
}

// A container's last words are cut at these sizes, as users of Kubernetes know them.
const (
	maxMessage         = 4096
	maxMessageFromLog  = 2048
	maxLinesFromLog    = 80
	maxLogTailConsider = 16 << 10
)

// terminationMessage is what the container wrote to its termination message file; if that is empty, the container failed
// and its policy says so, the end of its log.
func terminationMessage(c *runtimeapi.ContainerStatus, fallback string) string {
	if path := c.Annotations[AnnotationTerminationHostPath]; path != "" {
		if text := tailOf(path, maxMessage); text != "" {
			return text
		}
	}
	policy := corev1.TerminationMessagePolicy(c.Annotations[AnnotationMessagePolicy])
	if policy == corev1.TerminationMessageFallbackToLogsOnError && c.ExitCode != 0 && c.LogPath != "" {
		if text := logTail(tailOf(c.LogPath, maxLogTailConsider)); text != "" {
			return text
		}
	}
	return fallback
}

func tailOf(path string, limit int64) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	offset := max(info.Size()-limit, 0)
	data := make([]byte, info.Size()-offset)
	n, _ := file.ReadAt(data, offset)
	return string(data[:n])
}

// logTail strips the CRI prefix ("time stream tag ") of each line and keeps the end.
func logTail(text string) string {
	var words []string
	for line := range strings.Lines(text) {
		parts := strings.SplitN(line, " ", 4)
		if len(parts) == 4 && (parts[1] == "stdout" || parts[1] == "stderr") {
			if parts[2] == "P" { // the line went on, or was never ended
				parts[3] = strings.TrimSuffix(parts[3], "\n")
			}
			words = append(words, parts[3])
		}
	}
	words = words[max(len(words)-maxLinesFromLog, 0):]
	joined := strings.Join(words, "")
	return joined[max(len(joined)-maxMessageFromLog, 0):]
}

func stamp(nanos int64) time.Time {
	if nanos <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}
