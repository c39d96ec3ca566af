// Package scheduler gives every pod a node.
//
// One goroutine owns the cluster's state (state.go: nodes as columns, classes of identical pods) and takes decisions on it
// (decide.go) by a table of rules (rule.go). Who no node takes waits until something happens that helps (queue.go, core.go). Writes go out
// many at a time, and a decision never waits for one (outbox.go). It knows the API only through kube. Start with Scheduler.Run, then
// core.next.
package scheduler

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/events"
)

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
	core   *core
	outbox *outbox

	mu    sync.Mutex
	inbox []func() // changes to the state, in order, run by the loop
	spare []func() // what the last round has emptied
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
	return &Scheduler{config: config, core: newCore(config.Name), outbox: newOutbox(), wake: make(chan struct{}, 1)}
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
		s.post(func() { s.core.node(old, new) })
	})
	if err != nil {
		return err
	}
	err = kube.Watch(ctx, s.config.Cluster, kube.Pods, func(old, new *corev1.Pod) {
		s.post(func() { s.core.pod(old, new, s.config.Clock.Now()) })
	})
	if err != nil {
		return err
	}
	defer s.outbox.wait()
	for {
		s.drain()
		do, ok, wait := s.core.next(s.config.Clock.Now())
		switch {
		case ctx.Err() != nil:
			return nil
		case ok:
			s.carryOut(ctx, do)
		case !s.sleep(ctx, wait):
			return nil
		}
	}
}

func (s *Scheduler) drain() {
	s.mu.Lock()
	inbox := s.inbox
	s.inbox = s.spare[:0]
	s.mu.Unlock()
	for i, change := range inbox {
		change()
		inbox[i] = nil
	}
	s.spare = inbox
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

// carryOut makes a decision known.
func (s *Scheduler) carryOut(ctx context.Context, do action) {
	// The item is the loop's; the pod that it has now is shared and read-only.
	it, pod := do.item, do.pod
	if do.Node == "" {
		s.outbox.remark(ctx, pod.UID, func(ctx context.Context) { s.tellUnschedulable(ctx, pod, do.Decision) })
		return
	}
	s.outbox.bind(ctx, func(ctx context.Context) {
		if err := s.bind(ctx, pod, do.Node); err != nil {
			s.post(func() { s.bindFailed(it, err) })
			return
		}
		s.config.Events.Normal(pod, "Scheduled", "Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, do.Node)
	})
}

func (s *Scheduler) bind(ctx context.Context, pod *corev1.Pod, node string) error {
	_, err := s.config.Cluster.CreateSub(ctx, kube.Pods, pod.Namespace, pod.Name, "binding", &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	})
	return err
}

// bindFailed takes back a placement that the API refused, going by what the pod is now.
func (s *Scheduler) bindFailed(it *item, err error) {
	if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		s.config.Logger.Warn("binding failed", "pod", it.pod.Namespace+"/"+it.pod.Name, "err", err)
	}
	pod, ok := kube.Get[*corev1.Pod](s.config.Cluster, kube.Pods, it.pod.Namespace, it.pod.Name)
	if !ok || pod.UID != it.pod.UID {
		pod = nil
	}
	s.core.failed(it, pod, s.config.Clock.Now())
}

// tellUnschedulable puts the reason where users look for it, once for each new reason.
func (s *Scheduler) tellUnschedulable(ctx context.Context, pod *corev1.Pod, d Decision) {
	message := d.String()
	s.config.Events.Warning(pod, "FailedScheduling", "%s", message)
	cond := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: message, LastTransitionTime: metav1.NewTime(s.config.Clock.Now()), ObservedGeneration: pod.Generation}
	if have := kube.PodCondition(pod, corev1.PodScheduled); have != nil && have.Status == cond.Status {
		if have.Reason == cond.Reason && have.Message == cond.Message {
			return
		}
		cond.LastTransitionTime = have.LastTransitionTime
	}
	// Only this condition is written: whoever changes the rest of the status meanwhile is not in the way.
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{"conditions": []corev1.PodCondition{cond}}})
	if err == nil {
		_, err = s.config.Cluster.Patch(ctx, kube.Pods, pod.Namespace, pod.Name, types.StrategicMergePatchType, patch, "status")
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		s.config.Logger.Warn("condition not written", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
}
