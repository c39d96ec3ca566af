package podworker

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/events"
	"github.com/cuppa-project/cuppa/kubelet/criconfig"
	"github.com/cuppa-project/cuppa/kubelet/environ"
	"github.com/cuppa-project/cuppa/kubelet/image"
	"github.com/cuppa-project/cuppa/kubelet/objects"
	"github.com/cuppa-project/cuppa/kubelet/observe"
	"github.com/cuppa-project/cuppa/kubelet/probe"
	"github.com/cuppa-project/cuppa/kubelet/volume"
)

// Extender is kubelet.Extender, which see.
type Extender interface {
	RunSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string, asked extras.Document) (string, error)
	MakeContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, asked extras.Container) (string, error)
}

// Deps is what workers use. All of it is shared by every worker and safe for concurrent use.
type Deps struct {
	Runtime  cri.RuntimeService
	Extender Extender // nil: the runtime takes no extras
	Cluster  kube.Cluster
	Images   *image.Puller
	Volumes  *volume.Keeper
	Objects  *objects.Reader
	Events   *events.Recorder
	Probes   probe.Handler
	Node     criconfig.Node
	Around   Surroundings
	NodeName string
	// Allocatable is what pods may use of the node; it stands for "no limit" in the downward API.
	Allocatable corev1.ResourceList
	// Measure is told how long it took from a pod's arrival until its containers ran; nil: nobody.
	Measure func(name string, took time.Duration)
	Logger  *slog.Logger
}

func (d *Deps) facts(pod *corev1.Pod, observed *observe.Pod) environ.Facts {
	return environ.Facts{
		NodeName: d.NodeName, HostIPs: d.Around.HostIPs, PodIPs: PodIPs(pod, observed, d.Around), Allocatable: d.Allocatable,
	}
}
