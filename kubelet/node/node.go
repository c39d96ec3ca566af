// Package node tells the API about this machine: its Node object, its Lease, and whether it is well.
//
// It does not decide about pods. Start with Agent.Run; status.go holds what the Node says, as pure functions of what measure.go reads.
package node

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

// Config is what an Agent needs.
type Config struct {
	Name    string
	Cluster kube.Cluster
	Runtime cri.RuntimeService
	Images  cri.ImageManagerService
	Facts   Facts
	DataDir string // whose file system counts as the node's
	// Synced is closed when the pods that ran before are known again; the node is not ready before. Nil: at once.
	Synced <-chan struct{}
	Logger *slog.Logger
}

// Facts is what does not change about a node while it runs.
type Facts struct {
	Labels        map[string]string
	Taints        []corev1.Taint // a new Node begins with them
	IPs           []string
	Port          int32  // of the node agent's server
	PodCIDR       string // empty: somebody else assigns it
	Capacity      corev1.ResourceList
	Reserved      corev1.ResourceList // what pods cannot have of it
	Info          corev1.NodeSystemInfo
	Unschedulable bool
}

// Agent keeps the Node and its Lease.
type Agent struct {
	Config
	node    *corev1.Node // as last written or read
	written time.Time
	cidr    string
	nudge   chan struct{}
}

// New returns an Agent that does nothing yet.
func New(config Config) (*Agent, error) {
	if config.Name == "" || config.Cluster == nil || config.Runtime == nil || config.Images == nil {
		return nil, errkind.New(errkind.Invalid, "node agent: Name, Cluster, Runtime and Images are required")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Agent{Config: config, nudge: make(chan struct{}, 1)}, nil
}

// How often things are looked at and told.
const (
	statusEvery   = 10 * time.Second // look
	statusAtLeast = 5 * time.Minute  // tell, even if nothing changed
	notReadyEvery = 100 * time.Millisecond
	leaseEvery    = 10 * time.Second
	leaseSeconds  = 40
	retryEvery    = 500 * time.Millisecond
	lookPatience  = 10 * time.Second // a node that has not found its pods by then says that it is not ready
)

// Run registers the node and keeps telling about it until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	err := a.Cluster.Source(kube.Nodes).Watch(ctx, func(e kube.Event) {
		if e.Old != nil && e.Old.GetName() == a.Name && e.New == nil {
			a.poke() // somebody deleted the node; it is still here
		}
		if e.New != nil && e.New.GetName() == a.Name {
			a.poke()
		}
	})
	if err != nil {
		return fmt.Errorf("watch node: %w", err)
	}
	lease := &lease{Agent: a}
	return run.Group(ctx, a.statusLoop, lease.loop)
}

func (a *Agent) poke() {
	select {
	case a.nudge <- struct{}{}:
	default:
	}
}

func (a *Agent) statusLoop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	synced := a.Synced
	if !a.lookFirst(ctx) {
		return ctx.Err()
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-a.nudge:
		case <-synced:
			synced = nil
		}
		timer.Reset(a.round(ctx))
	}
}

// lookFirst waits, if the API has this node as ready, until the pods that ran before are known again: a node that comes back and calls
// itself not ready in the meantime would take its pods out of their Services. It reports whether ctx still lives.
func (a *Agent) lookFirst(ctx context.Context) bool {
	node, ok := kube.Get[*corev1.Node](a.Cluster, kube.Nodes, "", a.Name)
	if a.Synced == nil || !ok || a.next(node.Status) == notReadyEvery {
		return ctx.Err() == nil
	}
	patience := time.NewTimer(lookPatience)
	defer patience.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-a.Synced:
	case <-patience.C:
	}
	return true
}

// round looks at the node, tells what is new, and returns when to look again.
func (a *Agent) round(ctx context.Context) time.Duration {
	if err := a.register(ctx); err != nil {
		if ctx.Err() == nil {
			a.Logger.Warn("cannot register node", "node", a.Name, "err", err)
		}
		return retryEvery
	}
	a.assignRange(ctx)
	now := time.Now()
	health, images := a.measure(ctx), a.images(ctx)
	describe := func(before corev1.NodeStatus) corev1.NodeStatus { return Status(a.Facts, before, health, images, now) }
	status := describe(a.node.Status)
	if same(a.node.Status, status) && now.Sub(a.written) < statusAtLeast {
		return a.next(status)
	}
	if err := a.write(ctx, describe); err != nil {
		if ctx.Err() == nil {
			a.Logger.Warn("cannot write node status", "node", a.Name, "err", err)
		}
		return retryEvery
	}
	a.written = now
	return a.next(status)
}

// next is short while the node is not ready, because everybody waits for that.
func (a *Agent) next(status corev1.NodeStatus) time.Duration {
	for _, c := range status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return notReadyEvery
		}
	}
	return statusEvery
}

// same compares what is worth a write: heartbeats alone are not, the Lease is for that.
func same(a, b corev1.NodeStatus) bool {
	a, b = *a.DeepCopy(), *b.DeepCopy()
	for _, s := range []*corev1.NodeStatus{&a, &b} {
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
		s.VolumesInUse, s.VolumesAttached = nil, nil
	}
	return equality.Semantic.DeepEqual(a, b)
}

// register makes sure that the Node exists and carries this node's labels, and remembers it.
func (a *Agent) register(ctx context.Context) error {
	if current, ok := kube.Get[*corev1.Node](a.Cluster, kube.Nodes, "", a.Name); ok {
		a.node = current
		return a.relabel(ctx)
	}
	now := time.Now()
	node := &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: a.Name, Labels: a.Facts.Labels},
		Spec:       corev1.NodeSpec{Taints: a.Facts.Taints, Unschedulable: a.Facts.Unschedulable},
	}
	if a.Facts.PodCIDR != "" {
		node.Spec.PodCIDR, node.Spec.PodCIDRs = a.Facts.PodCIDR, []string{a.Facts.PodCIDR}
	}
	node.Status = Status(a.Facts, corev1.NodeStatus{}, a.measure(ctx), nil, now)
	created, err := a.Cluster.Create(ctx, node)
	if apierrors.IsAlreadyExists(err) {
		created, err = a.Cluster.Live(ctx, kube.Nodes, "", a.Name)
	}
	if err != nil {
		return err
	}
	a.node, a.written = created.(*corev1.Node), time.Time{}
	a.Logger.Info("node registered", "node", a.Name)
	return nil
}

// relabel restores the labels that this node answers for.
func (a *Agent) relabel(ctx context.Context) error {
	missing := map[string]string{}
	for key, value := range a.Facts.Labels {
		if a.node.Labels[key] != value {
			missing[key] = value
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err := kube.MergePatch(ctx, a.Cluster, kube.Nodes, "", a.Name, map[string]any{"metadata": map[string]any{"labels": missing}})
	return err
}

// assignRange tells the runtime which addresses its pods get, once that is known.
func (a *Agent) assignRange(ctx context.Context) {
	cidr := a.node.Spec.PodCIDR
	if cidr == "" || cidr == a.cidr {
		return
	}
	config := &runtimeapi.RuntimeConfig{NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: cidr}}
	if err := a.Runtime.UpdateRuntimeConfig(ctx, config); err != nil {
		a.Logger.Warn("cannot set the runtime's pod range", "range", cidr, "err", err)
		return
	}
	a.cidr = cidr
}

// write tells the API how the node is now, on top of what it says already: others write there too.
func (a *Agent) write(ctx context.Context, describe func(before corev1.NodeStatus) corev1.NodeStatus) error {
	node := a.node.DeepCopy()
	node.Status = describe(node.Status)
	written, err := a.Cluster.UpdateStatus(ctx, node)
	if apierrors.IsConflict(err) {
		fresh, liveErr := a.Cluster.Live(ctx, kube.Nodes, "", a.Name)
		if liveErr != nil {
			return liveErr
		}
		node = fresh.(*corev1.Node).DeepCopy()
		node.Status = describe(node.Status)
		written, err = a.Cluster.UpdateStatus(ctx, node)
	}
	if err != nil {
		return err
	}
	a.node = written.(*corev1.Node)
	return nil
}
