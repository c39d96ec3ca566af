package podworker

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

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

// mayWait tells whether a status can travel with the next one: the small steps of making a pod, those of putting a container of a new definition in
// the place of the old one, and those between the end of the pod's last container and its last report.
func (w *Worker) mayWait(in Input, plan *Plan, next corev1.PodStatus) bool {
	switch plan.Verdict.Stage {
	case Active:
		return !urgent(w.previous, next, func(name string) bool { return changing(in, name) })
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

// changing tells whether a container is on its way from an old definition to the pod's present one: it is being stopped for that, or has been, and
// its successor is about to start. Who changed it knows, and a pod is not to look broken for the moment that takes.
func changing(in Input, name string) bool {
	out := false
	each(in.Pod, func(c *corev1.Container) {
		last := in.Observed.Newest(name)
		if c.Name != name || last == nil || last.Hash == "" || last.Hash == observe.Hash(c) {
			return
		}
		op := in.Memory.Running[string(StartContainer)]
		held := op.Name != name && in.Memory.Crash[name].Until(last.FinishedAt).After(in.Now) || in.Memory.Start[name].Failed()
		out = last.State == observe.Exited && !held || last.State == observe.Running && beingReplaced(in, last.ID)
	})
	return out
}

// urgent tells whether somebody may wait for the difference between two statuses: everything but that a pod is being made, or one of its
// containers is changing.
func urgent(old, next corev1.PodStatus, changing func(name string) bool) bool {
	if old.Phase != next.Phase && next.Phase != corev1.PodPending {
		return true
	}
	anyChanging := false
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
			if changing(pair[1][i].Name) {
				anyChanging = true
				continue
			}
			if stateOf(pair[0][i]) != stateOf(pair[1][i]) || pair[0][i].Ready != pair[1][i].Ready {
				return true
			}
		}
	}
	return !anyChanging && conditionOf(old, corev1.PodReady) != conditionOf(next, corev1.PodReady) && conditionOf(old, corev1.PodReady) != ""
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
