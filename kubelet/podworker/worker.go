package podworker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

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
		memory: Memory{Start: map[string]Retry{}, Crash: map[string]Backoff{}, Stopped: map[string]bool{}, Running: map[string]Operation{}},
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

// set delivers a newer version of the pod.
func (w *Worker) set(pod *corev1.Pod) { w.tell(func() { w.update(pod) }) }

func (w *Worker) update(pod *corev1.Pod) {
	if !maps.Equal(pod.Labels, w.pod.Labels) || !maps.Equal(pod.Annotations, w.pod.Annotations) {
		w.refresh = true
	}
	w.pod = pod
}

// setRemoved tells that the API has no such pod any more.
func (w *Worker) setRemoved() { w.tell(func() { w.removed = true }) }

// observe tells that the runtime has news of the pod.
func (w *Worker) observe() { w.tell(func() { w.stale = true }) }

// begun tells that the runtime has started a container. That is no news while a start is under way, whose end is looked at anyway.
func (w *Worker) begun() { w.tell(func() { w.started = true }) }

// mirror tells that a ConfigMap or Secret of the pod's has changed.
func (w *Worker) mirror() { w.tell(func() { w.refresh = true }) }

// end tells that the node cannot keep the pod.
func (w *Worker) end(outcome Outcome) { w.tell(func() { w.reject = &outcome }) }

func (w *Worker) tell(change func()) {
	w.mu.Lock()
	change()
	w.mu.Unlock()
	w.wake()
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
	in := Input{Pod: pod, Removed: removed, Observed: w.observed, Probes: w.states(), Memory: w.memory, Now: time.Now()}
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

// ended returns a channel that is closed once a container does not run any more.
func (w *Worker) ended(id string) <-chan struct{} {
	done := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		close(done)
		return done
	}
	if w.waiting == nil {
		w.waiting = map[string][]chan struct{}{}
	}
	w.waiting[id] = append(w.waiting[id], done)
	w.stale = true
	w.wake()
	return done
}

// notify tells those who wait for the end of containers. A nil observation is the worker's own end.
func (w *Worker) notify(observed *observe.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = observed == nil
	for id, waiters := range w.waiting {
		if observed != nil {
			if c := observed.ByID(id); c != nil && c.State != observe.Exited {
				continue
			}
		}
		for _, done := range waiters {
			close(done)
		}
		delete(w.waiting, id)
	}
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

// open takes the mailbox's contents.
func (w *Worker) open() (pod *corev1.Pod, removed, stale bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.finished {
		op, ok := w.ops[r.key]
		if ok && op.serial == r.serial {
			op.cancel()
			delete(w.ops, r.key)
			delete(w.memory.Running, r.key)
		}
		if r.apply != nil {
			r.apply(&w.memory)
		}
		w.stale = w.stale || r.look
	}
	w.finished = nil
	if _, starting := w.ops[string(StartContainer)]; w.started && !starting {
		w.stale = true
	}
	w.started = false
	if w.refresh {
		w.refresh = false
		w.memory.RefreshAt = time.Now()
		w.memory.retryNow()
	}
	if w.reject != nil {
		w.memory.Rejected = w.reject
	}
	stale, w.stale = w.stale, false
	return w.pod, w.removed, stale
}

// retryNow forgets the waits of failures that a changed ConfigMap or Secret may have cured.
func (m *Memory) retryNow() {
	m.Mount.Until = time.Time{}
	for name, retry := range m.Start {
		if retry.Reason == ReasonCreateConfigError {
			retry.Until = time.Time{}
			m.Start[name] = retry
		}
	}
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

// statusDelay is how long a change that nobody waits for may be held back, so that it travels with the next one.
const statusDelay = 100 * time.Millisecond

// publish tells the API what is new.
func (w *Worker) publish(ctx context.Context, in Input, plan *Plan) {
	if in.Removed || w.memory.Forgotten {
		return
	}
	next := Status(in, plan.Verdict, w.previous, w.deps.Around)
	if equality.Semantic.DeepEqual(next, w.previous) {
		return
	}
	if w.mayWait(in, plan, next) {
		if w.statusAt.IsZero() {
			w.statusAt = in.Now.Add(statusDelay)
		}
		if in.Now.Before(w.statusAt) {
			plan.wake(w.statusAt)
			return
		}
	}
	w.statusAt = time.Time{}
	if w.deps.Measure != nil && w.previous.Phase != corev1.PodRunning && next.Phase == corev1.PodRunning {
		w.deps.Measure("pod_start", time.Since(w.arrived))
	}
	w.tellBackoff(in.Pod, next)
	w.previous = next
	w.writer.Set(ctx, next)
}

// mayWait tells whether a status can travel with the next one: the small steps of making a pod, and those between the end of its last
// container and its last report.
func (w *Worker) mayWait(in Input, plan *Plan, next corev1.PodStatus) bool {
	switch plan.Verdict.Stage {
	case Active:
		return !urgent(w.previous, next)
	case Deleting:
		last := slices.ContainsFunc(plan.Actions, func(a Action) bool { return a.Verb == Report })
		return !last && !w.memory.Reported && !in.Observed.AnyRunning()
	default:
		return false
	}
}

// tellBackoff records that a container is held back because it keeps failing.
func (w *Worker) tellBackoff(pod *corev1.Pod, next corev1.PodStatus) {
	for _, s := range slices.Concat(next.InitContainerStatuses, next.ContainerStatuses) {
		if s.State.Waiting != nil && s.State.Waiting.Reason == ReasonCrashLoopBackOff {
			w.containerEvent(pod, s.Name, corev1.EventTypeWarning, "BackOff",
				fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", s.Name, pod.Name, pod.Namespace, pod.UID))
		}
	}
}

// urgent tells whether somebody may wait for the difference between two statuses: everything but that a pod is being made.
func urgent(old, next corev1.PodStatus) bool {
	if old.Phase != next.Phase && next.Phase != corev1.PodPending {
		return true
	}
	for _, pair := range [][2][]corev1.ContainerStatus{
		{old.InitContainerStatuses, next.InitContainerStatuses}, {old.ContainerStatuses, next.ContainerStatuses},
		{old.EphemeralContainerStatuses, next.EphemeralContainerStatuses},
	} {
		if len(pair[0]) != len(pair[1]) {
			if anyBegun(pair[1]) {
				return true
			}
			continue
		}
		for i := range pair[1] {
			if stateOf(pair[0][i]) != stateOf(pair[1][i]) || pair[0][i].Ready != pair[1][i].Ready {
				return true
			}
		}
	}
	return conditionOf(old, corev1.PodReady) != conditionOf(next, corev1.PodReady) && conditionOf(old, corev1.PodReady) != ""
}

func anyBegun(list []corev1.ContainerStatus) bool {
	for _, s := range list {
		if s.State.Running != nil || s.State.Terminated != nil {
			return true
		}
	}
	return false
}

func stateOf(s corev1.ContainerStatus) string {
	switch {
	case s.State.Running != nil:
		return "running " + s.ContainerID
	case s.State.Terminated != nil:
		return "terminated " + s.ContainerID
	case s.State.Waiting != nil:
		return "waiting " + s.State.Waiting.Reason
	default:
		return ""
	}
}

func conditionOf(s corev1.PodStatus, kind corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return ""
}
