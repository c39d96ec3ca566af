package podworker

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kubelet/observe"
	"github.com/cuppa-project/cuppa/kubelet/probe"
)

// stopContainer ends a container: preStop hook, signal, grace, kill. The hook's time counts against the grace.
func stopContainer(ctx context.Context, w *Worker, in Input, a Action) func(*Memory) {
	w.containerEvent(in.Pod, a.Name, corev1.EventTypeNormal, "Killing", a.Reason)
	deadline := time.Now().Add(a.Grace)
	spec := containerOf(in.Pod, a.Name)
	if spec != nil && spec.Lifecycle != nil && spec.Lifecycle.PreStop != nil && a.Grace > 0 && !waived(in.Pod, spec.Lifecycle.PreStop) {
		hookCtx, cancel := context.WithDeadline(ctx, deadline)
		err := w.hook(hookCtx, in, spec, a.ID, spec.Lifecycle.PreStop)
		cancel()
		if err != nil && ctx.Err() == nil {
			w.containerEvent(in.Pod, a.Name, corev1.EventTypeWarning, "FailedPreStopHook", fmt.Sprintf("PreStopHook failed: %v", err))
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	left := time.Until(deadline)
	if a.Grace > 0 {
		left = max(left, leastGrace) // however long the hook took, the container hears the signal
	}
	if err := w.deps.Runtime.StopContainer(ctx, a.ID, int64(math.Ceil(max(left, 0).Seconds()))); err != nil && ctx.Err() == nil {
		w.deps.Logger.Warn("cannot stop container", "pod", w.name(), "container", a.ID, "err", err)
		run.Pause(ctx, firstRetry)
	}
	return nil
}

// waived is true of a hook that only sleeps, when the pod was deleted with less grace than its own: such a hook gives the network time to
// send requests elsewhere, and whoever is in a hurry, because everything goes, has no use for that.
func waived(pod *corev1.Pod, hook *corev1.LifecycleHandler) bool {
	own, given := pod.Spec.TerminationGracePeriodSeconds, pod.DeletionGracePeriodSeconds
	return hook.Sleep != nil && own != nil && given != nil && *given < *own
}

// leastGrace is what a container has left for its signal when its hook used up the grace.
const leastGrace = 2 * time.Second

// hook runs a lifecycle hook.
func (w *Worker) hook(ctx context.Context, in Input, spec *corev1.Container, id string, h *corev1.LifecycleHandler) error {
	target := probe.Target{Pod: in.Pod, Spec: spec, Container: observe.Container{ID: id, Name: spec.Name}}
	if ips := PodIPs(in.Pod, &in.Observed, w.deps.Around); len(ips) > 0 {
		target.IP = ips[0]
	}
	var err error
	switch {
	case h.Exec != nil:
		_, err = w.deps.Probes.Exec(ctx, id, h.Exec.Command, timeLeft(ctx))
	case h.HTTPGet != nil:
		_, err = w.deps.Probes.HTTP(ctx, target, h.HTTPGet, "kube-lifecycle/1.37")
	case h.TCPSocket != nil:
		_, err = w.deps.Probes.TCP(ctx, target, h.TCPSocket)
	case h.Sleep != nil:
		run.Pause(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
		err = ctx.Err()
	default:
		err = errkind.New(errkind.Invalid, "the hook has no handler")
	}
	return err
}

// timeLeft is the time until a context's deadline, 0 if it has none.
func timeLeft(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(deadline), time.Millisecond)
}

// unhealthy tells users about a failed probe.
func (w *Worker) unhealthy(t probe.Target, _ probe.Kind, message string) {
	w.containerEvent(t.Pod, t.Spec.Name, corev1.EventTypeWarning, "Unhealthy", message)
}

// removeLogs removes a container's log file and what was rotated out of it.
func removeLogs(path string) error {
	if path == "" {
		return nil
	}
	rotated, err := filepath.Glob(path + ".*")
	if err != nil {
		return err
	}
	for _, name := range append(rotated, path) {
		if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}
