// Package scheduler gives every pod a node.
//
// One goroutine owns the cluster's state (state.go: nodes as columns, classes of identical pods) and takes decisions on it (decide.go:
// filters.go, then scores.go, two ordered tables). Bindings go out many at a time, one write each; a decision
// never waits for one. It knows the API only through kube. Start with Scheduler.Run, then State.Decide.
package scheduler

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/events"
)

// bindsInFlight is how many bindings are under way at once: enough for the store to commit them in groups.
const bindsInFlight = 64

// Config describes a scheduler.
type Config struct {
	Cluster kube.Cluster
	Logger  *slog.Logger
	Events  *events.Recorder
	Clock   clock.Clock // nil: the real one
	Name    string      // of the pods' schedulerName; "": default-scheduler
}

// Scheduler is the one loop.
type Scheduler struct {
	config Config
	state  *State
	queue  *queue

	mu    sync.Mutex
	inbox []func() // changes to the state, in order, run by the loop
	wake  chan struct{}
}

// New returns a scheduler; it does nothing until Run.
func New(config Config) *Scheduler {
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	if config.Name == "" {
		config.Name = corev1.DefaultSchedulerName
	}
	return &Scheduler{config: config, state: NewState(), queue: newQueue(), wake: make(chan struct{}, 1)}
}

// post hands a change to the loop.
func (s *Scheduler) post(change func()) {
	s.mu.Lock()
	s.inbox = append(s.inbox, change)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run schedules until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	err := kube.Watch(ctx, s.config.Cluster, kube.Nodes, func(old, new *corev1.Node) {
		s.post(func() { s.nodeChanged(old, new) })
	})
	if err != nil {
		return err
	}
	err = kube.Watch(ctx, s.config.Cluster, kube.Pods, func(old, new *corev1.Pod) {
		s.post(func() { s.podChanged(old, new) })
	})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	gate := make(chan struct{}, bindsInFlight)
	for {
		s.drain()
		next := s.queue.due(s.config.Clock.Now())
		if it := s.queue.pop(); it != nil {
			select {
			case gate <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			work := s.schedule(it)
			wg.Go(func() {
				defer func() { <-gate }()
				work(ctx)
			})
			continue
		}
		if !s.sleep(ctx, next) {
			return nil
		}
	}
}

func (s *Scheduler) drain() {
	s.mu.Lock()
	inbox := s.inbox
	s.inbox = nil
	s.mu.Unlock()
	for _, change := range inbox {
		change()
	}
}

func (s *Scheduler) sleep(ctx context.Context, next time.Time) bool {
	var timer <-chan time.Time
	if !next.IsZero() {
		t := s.config.Clock.NewTimer(next.Sub(s.config.Clock.Now()))
		defer t.Stop()
		timer = t.C()
	}
	select {
	case <-s.wake:
	case <-timer:
	case <-ctx.Done():
		return false
	}
	return true
}

func (s *Scheduler) nodeChanged(old, new *corev1.Node) {
	if new == nil {
		s.state.RemoveNode(old.Name)
		return
	}
	if s.state.SetNode(new) {
		s.queue.wake()
	}
}

func (s *Scheduler) podChanged(old, new *corev1.Pod) {
	switch {
	case new == nil || kube.PodFinished(new):
		gone := new
		if gone == nil {
			gone = old
		}
		s.queue.remove(gone.UID)
		if s.state.Remove(gone.UID) {
			s.queue.wake()
		}
	case new.Spec.NodeName != "":
		s.queue.remove(new.UID)
		s.state.Place(new, new.Spec.NodeName)
	case new.DeletionTimestamp != nil:
		s.queue.remove(new.UID)
	case s.mine(new) && !s.state.Placed(new.UID):
		s.queue.add(new, s.config.Clock.Now())
	}
}

// mine says whether the pod is for this scheduler, and may be scheduled yet.
func (s *Scheduler) mine(pod *corev1.Pod) bool {
	return pod.Spec.SchedulerName == s.config.Name && len(pod.Spec.SchedulingGates) == 0
}

// schedule decides for one pod and returns the write that makes the decision known. It runs in the loop; the write does not.
func (s *Scheduler) schedule(it *item) func(context.Context) {
	d := s.state.Decide(s.state.Class(it.pod))
	if d.Node == "" {
		s.queue.park(it, s.config.Clock.Now())
		return func(ctx context.Context) { s.tellUnschedulable(ctx, it.pod, d) }
	}
	s.state.Place(it.pod, d.Node)
	return func(ctx context.Context) {
		if err := s.bind(ctx, it.pod, d.Node); err != nil {
			s.post(func() { s.bindFailed(it, err) })
			return
		}
		s.config.Events.Normal(it.pod, "Scheduled", "Successfully assigned %s/%s to %s", it.pod.Namespace, it.pod.Name, d.Node)
	}
}

func (s *Scheduler) bind(ctx context.Context, pod *corev1.Pod, node string) error {
	_, err := s.config.Cluster.CreateSub(ctx, kube.Pods, pod.Namespace, pod.Name, "binding", &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	})
	return err
}

// bindFailed takes back a placement that the API refused. A pod that is gone, or was bound by someone else, tells its own story by the watch.
func (s *Scheduler) bindFailed(it *item, err error) {
	s.state.Remove(it.pod.UID)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		if pod, ok := kube.Get[*corev1.Pod](s.config.Cluster, kube.Pods, it.pod.Namespace, it.pod.Name); ok && pod.UID == it.pod.UID {
			s.podChanged(nil, pod)
		}
		return
	}
	s.config.Logger.Warn("binding failed", "pod", it.pod.Namespace+"/"+it.pod.Name, "err", err)
	s.queue.retry(it, s.config.Clock.Now())
}

// tellUnschedulable puts the reason where users look for it, once for each new reason.
func (s *Scheduler) tellUnschedulable(ctx context.Context, pod *corev1.Pod, d Decision) {
	message := d.String()
	s.config.Events.Warning(pod, "FailedScheduling", "%s", message)
	cond := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: message, LastTransitionTime: metav1.NewTime(s.config.Clock.Now()), ObservedGeneration: pod.Generation}
	if have := kube.PodCondition(pod, corev1.PodScheduled); have != nil {
		if have.Status == cond.Status && have.Reason == cond.Reason && have.Message == cond.Message {
			return
		}
		if have.Status == cond.Status {
			cond.LastTransitionTime = have.LastTransitionTime
		}
	}
	changed := pod.DeepCopy()
	if have := kube.PodCondition(changed, corev1.PodScheduled); have != nil {
		*have = cond
	} else {
		changed.Status.Conditions = append(changed.Status.Conditions, cond)
	}
	if _, err := s.config.Cluster.UpdateStatus(ctx, changed); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		s.config.Logger.Warn("condition not written", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
}
