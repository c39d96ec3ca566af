// Package observe is what a container runtime says about one pod, as plain values.
//
// It holds no decisions and no memory: the runtime is asked, and its answer is put in order. Identity is in the labels and annotations
// that every Kubernetes runtime carries (io.kubernetes.*), so that a node agent which was killed finds its pods again. Start with Pod.
package observe

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Labels and annotations on sandboxes and containers. They are the ones upstream uses, so that tools such as crictl understand them.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"

	AnnotationHash                = "io.kubernetes.container.hash"
	AnnotationRestartCount        = "io.kubernetes.container.restartCount"
	AnnotationMessagePath         = "io.kubernetes.container.terminationMessagePath"
	AnnotationMessagePolicy       = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationPodGrace            = "io.kubernetes.pod.terminationGracePeriod"
	AnnotationTerminationHostPath = "cuppa.dev/termination-message-host-path"
)

// State is what a container is doing.
type State string

// The states a container can be in, as CRI knows them.
const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
	Unknown State = "unknown"
)

// Key names a pod: its UID is its identity, namespace and name are for people and paths.
type Key struct {
	UID             types.UID
	Namespace, Name string
}

// KeyOf returns the key of an API object.
func KeyOf(pod *corev1.Pod) Key {
	return Key{UID: pod.UID, Namespace: pod.Namespace, Name: pod.Name}
}

// Pod is everything the runtime has of one pod.
type Pod struct {
	Key
	Sandboxes  []Sandbox   // newest attempt first
	Containers []Container // by name, then newest attempt first
}

// Sandbox is one sandbox of a pod.
type Sandbox struct {
	ID        string
	Attempt   uint32
	Ready     bool
	CreatedAt time.Time
	IPs       []string // empty for a pod on the host's network
	HostNet   bool
}

// Container is one container of a pod.
type Container struct {
	ID        string
	Name      string
	Attempt   uint32
	SandboxID string
	State     State
	Hash      string // of the parts of its spec that need a new container when they change

	CreatedAt, StartedAt, FinishedAt time.Time

	ExitCode int32
	Reason   string // the runtime's: OOMKilled, Error, Completed, or empty
	Message  string

	Image   string // as the user wrote it
	ImageID string // what it resolved to
	LogPath string
	User    *corev1.ContainerUser
	Cgroup  Cgroup
}

// Cgroup is what a container's control group holds. The zero value: the runtime does not say.
type Cgroup struct {
	Shares, Quota, Period int64 // of cpu
	Memory                int64 // limit in bytes
}

// CgroupOf takes it from what a runtime says, or is asked for.
func CgroupOf(r *runtimeapi.LinuxContainerResources) Cgroup {
	return Cgroup{Shares: r.GetCpuShares(), Quota: r.GetCpuQuota(), Period: r.GetCpuPeriod(), Memory: r.GetMemoryLimitInBytes()}
}

// Ready returns the newest sandbox if it is ready.
func (p *Pod) Ready() (Sandbox, bool) {
	if len(p.Sandboxes) == 0 || !p.Sandboxes[0].Ready {
		return Sandbox{}, false
	}
	return p.Sandboxes[0], true
}

// Newest returns the newest container of a name, or nil.
func (p *Pod) Newest(name string) *Container {
	for i := range p.Containers {
		if p.Containers[i].Name == name {
			return &p.Containers[i]
		}
	}
	return nil
}

// Named returns the containers of a name, newest first.
func (p *Pod) Named(name string) []Container {
	var out []Container
	for _, c := range p.Containers {
		if c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

// ByID returns a container, or nil.
func (p *Pod) ByID(id string) *Container {
	for i := range p.Containers {
		if p.Containers[i].ID == id {
			return &p.Containers[i]
		}
	}
	return nil
}

// AnyRunning tells whether a container of the pod may have a process.
func (p *Pod) AnyRunning() bool {
	return slices.ContainsFunc(p.Containers, func(c Container) bool { return c.State == Running || c.State == Unknown })
}

// Empty tells whether the runtime has nothing of the pod.
func (p *Pod) Empty() bool { return len(p.Sandboxes) == 0 && len(p.Containers) == 0 }
