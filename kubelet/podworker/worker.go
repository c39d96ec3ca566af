package podworker

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/kubelet/observe"
	"github.com/cuppa-project/cuppa/kubelet/probe"
	"github.com/cuppa-project/cuppa/kubelet/status"
)

// Worker takes care of one pod. Its goroutine observes, decides and launches; it never waits for anything but news.
type Worker struct {
	deps *Deps
	key  observe.Key
	poke chan struct{}

	mu       sync.Mutex // guards the mailbox
	pod      *corev1.Pod
	removed  bool
	stale    bool // the runtime has news
	started  bool // the runtime says that a container has started
	refresh  bool // something a volume mirrors has changed
	reject   *Outcome
	room     Room // why the pod cannot have the resources that its spec asks for now
	finished []result
	waiting  map[string][]chan struct{} // by container ID: who wants to know its end
	over     bool                       // the worker has ended

	// The rest belongs to the worker's goroutine.
	memory   Memory
	observed observe.Pod
	probes   *probe.Set
	writer   *status.Writer
	previous corev1.PodStatus
	statusAt time.Time // when a status that is not urgent must be written
	ops      map[string]*operation
	serial   int
	wait     sync.WaitGroup
	arrived  time.Time
}

type operation struct {
	serial int
	cancel context.CancelFunc
}

// result is what an operation reports: how it changes the memory, and whether the runtime should be looked at.
type result struct {
	key    string
	serial int
	look   bool
	apply  func(m *Memory)
}

// newWorker returns a worker for a pod. A pod that the API does not have is only taken down.
func newWorker(deps *Deps, pod *corev1.Pod, removed bool) *Worker {
	w := &Worker{
		deps: deps, key: observe.KeyOf(pod), poke: make(chan struct{}, 1), pod: pod, removed: removed, stale: true,
		previous: pod.Status, ops: map[string]*operation{}, arrived: time.Now(),
		memory: Memory{Start: map[string]Retry{}, Crash: map[string]Backoff{}, Stopped: map[string]bool{}, Running: map[string]Operation{},
			Resized: map[string]observe.Cgroup{}},
	}
	w.probes = probe.NewSet(probe.Config{Handler: deps.Probes, Unhealthy: w.unhealthy, Changed: w.wake})
	w.writer = status.New(status.Config{Cluster: deps.Cluster, Key: w.key, Owned: OwnedConditions(), Logger: deps.Logger})
	w.wake()
	return w
}

func (w *Worker) wake() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// run works until the pod is gone, or ctx ends. Containers are left as they are then.
func (w *Worker) run(ctx context.Context) (done bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		w.probes.Close()
		w.wait.Wait()
		w.writer.Close()
		w.notify(nil)
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-w.poke:
		case <-timer.C:
		}
		plan := w.step(ctx)
		if plan.Done {
			return true
		}
		timer.Stop()
		if !plan.Wake.IsZero() {
			timer.Reset(max(time.Until(plan.Wake), 0))
		}
	}
}

// step does one round: take in the news, look, decide, tell, launch.
func (w *Worker) step(ctx context.Context) Plan {
	pod, removed, stale := w.open()
	if stale {
		observed, err := observe.Read(ctx, w.deps.Runtime, w.key)
		if err != nil {
			if ctx.Err() == nil {
				w.deps.Logger.Warn("cannot observe pod", "pod", w.name(), "err", err)
			}
			w.tellLater(ctx, observeRetry)
			return Plan{}
		}
		w.observed = observed
		w.notify(&observed)
	}
	in := Input{Pod: pod, Removed: removed, Observed: w.observed, Probes: w.states(), Memory: w.memory, LimitCPU: w.deps.Node.LimitCPU, Now: time.Now()}
	w.watch(ctx, in)
	plan := Decide(in)
	if plan.Verdict.Stage != Active {
		w.probes.LastWords()
	}
	w.publish(ctx, in, &plan)
	for _, action := range plan.Actions {
		w.launch(ctx, in, plan.Verdict, action)
	}
	return plan
}

const observeRetry = time.Second

// tellLater asks for another look at the runtime after a while.
func (w *Worker) tellLater(ctx context.Context, delay time.Duration) {
	w.wait.Go(func() {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			w.observe()
		case <-ctx.Done():
		}
	})
}

func (w *Worker) name() string { return w.key.Namespace + "/" + w.key.Name }

func (w *Worker) states() map[string]Probe {
	out := map[string]Probe{}
	for id, s := range w.probes.States() {
		out[id] = Probe(s)
	}
	return out
}

// watch sends probes to what runs, and to nothing else.
func (w *Worker) watch(ctx context.Context, in Input) {
	running := map[string]bool{}
	ips := PodIPs(in.Pod, &in.Observed, w.deps.Around)
	ip := ""
	if len(ips) > 0 {
		ip = ips[0]
	}
	each(in.Pod, func(c *corev1.Container) {
		newest := in.Observed.Newest(c.Name)
		if newest == nil || newest.State != observe.Running || beingReplaced(in, newest.ID) {
			return
		}
		running[newest.ID] = true
		if _, ok := in.Probes[newest.ID]; ok {
			return
		}
		target := probe.Target{Pod: in.Pod, Spec: c, Container: *newest, IP: ip}
		target.WasReady, target.WasUp = w.reported(newest.ID, in.Pod)
		w.probes.Watch(ctx, target)
		in.Probes[newest.ID] = Probe(w.probes.States()[newest.ID])
	})
	w.probes.Keep(running)
}

// beingReplaced tells whether a container is being stopped to make room for its next incarnation: asking it anything would
// only record its end as one more failure. A pod on its way out is asked until its end, since it may still serve.
func beingReplaced(in Input, id string) bool {
	op, ok := in.Memory.Running[Action{Verb: StopContainer, ID: id}.Key()]
	return ok && op.Verb == StopContainer && Judge(in).Stage == Active
}

// reported is what the API was last told of a container: a node agent that comes back does not make its pods unready.
func (w *Worker) reported(id string, pod *corev1.Pod) (ready, started bool) {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range list {
			if s.ContainerID == w.deps.Around.RuntimeName+"://"+id {
				return s.Ready, s.Started != nil && *s.Started
			}
		}
	}
	return false, false
}

// each calls fn for every container of a pod, of any kind.
func each(pod *corev1.Pod, fn func(*corev1.Container)) {
	for i := range pod.Spec.InitContainers {
		fn(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		fn(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		fn(&c)
	}
}
