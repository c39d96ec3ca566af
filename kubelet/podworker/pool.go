package podworker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// Pool holds the workers of this node, one for each pod.
type Pool struct {
	deps *Deps

	mu      sync.Mutex
	ctx     context.Context // the one Run was given; workers live in it
	workers map[types.UID]*entry
	gone    map[types.UID]bool // pods that have been taken down, while the API still has them
	wait    sync.WaitGroup
	synced  chan struct{}
	closed  bool // no worker is started any more
}

type entry struct {
	*Worker
	pod *corev1.Pod // the newest from the API
}

// NewPool returns a Pool without workers.
func NewPool(deps *Deps) *Pool {
	return &Pool{deps: deps, workers: map[types.UID]*entry{}, gone: map[types.UID]bool{}, synced: make(chan struct{})}
}

// Synced is closed when what ran before has been found again.
func (p *Pool) Synced() <-chan struct{} { return p.synced }

// Run follows the API and the runtime until ctx ends, then waits for the workers. Containers are left as they are.
func (p *Pool) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.wait.Wait()
		p.deps.Objects.Wait()
	}()
	p.mu.Lock()
	p.ctx = ctx
	p.mu.Unlock()

	p.wait.Go(func() { p.followRuntime(ctx) })
	if err := p.deps.Cluster.Source(kube.Pods).Watch(ctx, p.podChanged); err != nil {
		return fmt.Errorf("watch pods: %w", err)
	}
	if err := p.adopt(ctx); err != nil {
		return err
	}
	close(p.synced)
	<-ctx.Done()
	return ctx.Err()
}

// podChanged takes one change of a pod in the API.
func (p *Pool) podChanged(e kube.Event) {
	var pod *corev1.Pod
	if e.New != nil {
		pod = e.New.(*corev1.Pod)
	}
	if e.Old != nil && (pod == nil || pod.UID != e.Old.GetUID()) {
		p.podGone(e.Old.GetUID())
	}
	if pod == nil || pod.Spec.NodeName != p.deps.NodeName {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone[pod.UID] {
		return
	}
	if w, ok := p.workers[pod.UID]; ok {
		w.pod = pod
		p.deps.Objects.Hold(p.ctx, pod, w.mirror)
		w.setRoom(p.roomFor(pod))
		w.set(pod)
		p.makeRoom()
		return
	}
	p.add(pod, false)
}

func (p *Pool) podGone(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.gone, uid)
	if w, ok := p.workers[uid]; ok {
		w.setRemoved()
	}
}

// roomFor decides whether a pod may have the resources that its spec asks for now. p.mu is held.
func (p *Pool) roomFor(pod *corev1.Pod) Room {
	if !resizeAsked(pod) {
		return Room{}
	}
	return RoomFor(pod, p.pods(), p.deps.Allocatable)
}

// makeRoom looks again whether pods that wait for resources can have them. p.mu is held.
func (p *Pool) makeRoom() {
	for _, w := range p.workers {
		if w.waitsForRoom() {
			w.setRoom(p.roomFor(w.pod))
		}
	}
}

func (w *Worker) waitsForRoom() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.room.Reason != ""
}

// pods are those of this node that are not gone. p.mu is held.
func (p *Pool) pods() []*corev1.Pod {
	var all []*corev1.Pod
	for _, w := range p.workers {
		all = append(all, w.pod)
	}
	return all
}

// add starts a worker. p.mu is held.
func (p *Pool) add(pod *corev1.Pod, removed bool) {
	if p.closed {
		return
	}
	w := newWorker(p.deps, pod, removed)
	if !removed {
		w.memory.Rejected = p.admit(pod)
		if r := w.memory.Rejected; r != nil {
			w.warn(pod, r.Reason, r.Message)
		}
	}
	p.workers[pod.UID] = &entry{w, pod}
	p.deps.Objects.Hold(p.ctx, pod, w.mirror)
	p.wait.Go(func() {
		if !w.run(p.ctx) {
			return
		}
		p.deps.Objects.Release(pod.UID)
		p.mu.Lock()
		defer p.mu.Unlock()
		if !w.isRemoved() {
			p.gone[pod.UID] = true
		}
		delete(p.workers, pod.UID)
		p.makeRoom()
	})
}

func (w *Worker) isRemoved() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.removed
}

// admit checks a pod that this node has not begun with against those it has.
func (p *Pool) admit(pod *corev1.Pod) *Outcome {
	if pod.Status.StartTime != nil || pod.DeletionTimestamp != nil {
		return nil // it was admitted before, or it is on its way out
	}
	return Admit(pod, p.pods(), p.deps.Allocatable)
}

// adopt finds what ran before this process did: pods that the API knows have their workers already; what it does not know is
// taken down, and directories that nobody owns are removed.
func (p *Pool) adopt(ctx context.Context) error {
	keys, err := observe.Keys(ctx, p.deps.Runtime)
	if err != nil {
		return fmt.Errorf("find pods that ran before: %w", err)
	}
	keys = append(keys, p.deps.Node.Logged()...)
	for _, uid := range p.deps.Volumes.Known() {
		keys = append(keys, observe.Key{UID: uid})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, key := range keys {
		if _, ok := p.workers[key.UID]; ok {
			continue
		}
		p.deps.Logger.Info("removing pod that the API does not have", "pod", key.Namespace+"/"+key.Name, "uid", key.UID)
		p.add(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: key.UID, Namespace: key.Namespace, Name: key.Name}}, true)
	}
	return nil
}

// followRuntime delivers the runtime's news to the workers, and asks them all to look again when some may have been missed.
func (p *Pool) followRuntime(ctx context.Context) {
	for ctx.Err() == nil {
		news := make(chan *runtimeapi.ContainerEventResponse, 256)
		done := make(chan struct{})
		p.wait.Go(func() {
			defer close(done)
			for e := range news {
				p.runtimeNews(e)
			}
		})
		// What happened before the subscription stands is found by looking once it does.
		err := p.deps.Runtime.GetContainerEvents(ctx, news, func(runtimeapi.RuntimeService_GetContainerEventsClient) { p.observeAll() })
		close(news)
		<-done
		if ctx.Err() != nil {
			return
		}
		p.deps.Logger.Warn("lost the runtime's events", "err", err)
		run.Pause(ctx, time.Second)
		p.observeAll()
	}
}

func (p *Pool) runtimeNews(e *runtimeapi.ContainerEventResponse) {
	uid := types.UID(e.GetPodSandboxStatus().GetMetadata().GetUid())
	if uid == "" {
		p.observeAll()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w, ok := p.workers[uid]
	if !ok {
		return
	}
	switch e.ContainerEventType {
	case runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT: // nothing follows from that
	case runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT:
		w.begun()
	default:
		w.observe()
	}
}

func (p *Pool) observeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		w.observe()
	}
}

// Pod returns a pod of this node by name, or nil.
func (p *Pool) Pod(namespace, name string) *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers {
		if w.pod.Namespace == namespace && w.pod.Name == name {
			return w.pod
		}
	}
	return nil
}

// Pods returns the pods of this node.
func (p *Pool) Pods() []*corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*corev1.Pod, 0, len(p.workers))
	for _, w := range p.workers {
		out = append(out, w.pod)
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
	return out
}

// End makes the node give up a pod, with the outcome users will see.
func (p *Pool) End(uid types.UID, outcome Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, ok := p.workers[uid]; ok {
		w.end(outcome)
	}
}

// Ended returns a channel that is closed once a container of a pod does not run any more.
func (p *Pool) Ended(_ context.Context, key observe.Key, containerID string) <-chan struct{} {
	p.mu.Lock()
	w, ok := p.workers[key.UID]
	p.mu.Unlock()
	if !ok {
		done := make(chan struct{})
		close(done)
		return done
	}
	return w.ended(containerID)
}
