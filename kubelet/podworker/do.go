package podworker

import (
	"context"
	"errors"
	"fmt"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
	"maps"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kube/events"
	"github.com/cuppa-project/cuppa/kubelet/criconfig"
)

// Delays between tries of what failed.
const (
	firstRetry   = time.Second
	lastRetry    = 2 * time.Minute
	firstSandbox = 200 * time.Millisecond
	lastSandbox  = 30 * time.Second
	firstPull    = 10 * time.Second
	lastPull     = 5 * time.Minute
)

// doer carries out one action; what it returns changes the memory once the worker has taken it in.
type doer func(ctx context.Context, w *Worker, in Input, a Action) func(*Memory)

// doers is the table of all verbs.
func doers() map[Verb]doer {
	return map[Verb]doer{
		MountVolumes:    mountVolumes,
		RefreshVolumes:  refreshVolumes,
		UnmountVolumes:  unmountVolumes,
		CreateSandbox:   createSandbox,
		StopSandbox:     stopSandbox,
		RemoveSandbox:   removeSandbox,
		StartContainer:  startContainer,
		ResizePod:       resizePod,
		StopContainer:   stopContainer,
		RemoveContainer: removeContainer,
		Report:          report,
		Forget:          forget,
		Clean:           clean,
	}
}

// launch begins an action beside the worker.
func (w *Worker) launch(ctx context.Context, in Input, verdict Verdict, a Action) {
	key := a.Key()
	if a.Verb == CancelStart {
		for key, op := range w.ops {
			if w.memory.Running[key].makes() {
				op.cancel()
			}
		}
		return
	}
	if verdict.Stage != Active && a.Verb == StopContainer && w.memory.EndBegan.IsZero() {
		w.memory.EndBegan = in.Now
	}
	if old, ok := w.ops[key]; ok {
		old.cancel() // superseded
	}
	if a.Verb == StartContainer && a.Restart {
		if last := in.Observed.Newest(a.Name); last != nil {
			w.memory.Crash[a.Name] = w.memory.Crash[a.Name].Next(last.FinishedAt, in.Now)
		}
	}
	if a.Verb == RefreshVolumes {
		w.memory.RefreshAt = time.Time{}
	}
	w.serial++
	serial := w.serial
	opCtx, cancel := context.WithCancel(ctx)
	w.ops[key] = &operation{serial: serial, cancel: cancel}
	w.memory.Running[key] = Operation{Action: a, Began: in.Now}
	in.Memory.Running, in.Memory.Start = nil, maps.Clone(w.memory.Start) // the worker goes on changing its own
	w.deps.Logger.Debug("pod action", "pod", w.name(), "action", a.String())
	do := doers()[a.Verb]
	w.wait.Go(func() {
		apply := do(opCtx, w, in, a)
		w.tell(func() { w.finished = append(w.finished, result{key, serial, a.touchesRuntime(), apply}) })
	})
}

func mountVolumes(ctx context.Context, w *Worker, in Input, _ Action) func(*Memory) {
	due, err := w.deps.Volumes.SetUp(ctx, in.Pod, w.deps.facts(in.Pod, &in.Observed))
	if err != nil {
		if ctx.Err() == nil {
			w.warn(in.Pod, "FailedMount", err.Error())
		}
		now := time.Now()
		return func(m *Memory) { m.Mount = m.Mount.Next(now, "FailedMount", err.Error(), firstRetry, lastRetry) }
	}
	return func(m *Memory) { m.Mounted, m.Unmounted, m.Mount, m.RefreshAt = true, false, Retry{}, due }
}

func refreshVolumes(ctx context.Context, w *Worker, in Input, _ Action) func(*Memory) {
	due, err := w.deps.Volumes.Refresh(ctx, in.Pod, w.deps.facts(in.Pod, &in.Observed))
	if err != nil && ctx.Err() == nil {
		w.warn(in.Pod, "FailedMount", err.Error())
		due = time.Now().Add(lastRetry)
	}
	return func(m *Memory) {
		if m.RefreshAt.IsZero() || due.Before(m.RefreshAt) {
			m.RefreshAt = due
		}
	}
}

func unmountVolumes(ctx context.Context, w *Worker, in Input, _ Action) func(*Memory) {
	if err := w.deps.Volumes.TearDown(ctx, w.key.UID); err != nil {
		w.deps.Logger.Warn("cannot take down volumes", "pod", w.name(), "err", err)
		run.Pause(ctx, firstRetry)
		return nil
	}
	return func(m *Memory) { m.Unmounted, m.Mounted = true, false }
}

func createSandbox(ctx context.Context, w *Worker, in Input, a Action) func(*Memory) {
	config := criconfig.Sandbox(w.deps.Node, in.Pod, a.Attempt)
	handler := ""
	if in.Pod.Spec.RuntimeClassName != nil {
		handler = *in.Pod.Spec.RuntimeClassName
	}
	err := os.MkdirAll(config.LogDirectory, 0o755)
	if err == nil {
		err = runSandbox(ctx, w.deps, in.Pod, config, handler)
	}
	if err != nil {
		message := "Failed to create pod sandbox: " + err.Error()
		if ctx.Err() == nil {
			w.warn(in.Pod, "FailedCreatePodSandBox", message)
		}
		now := time.Now()
		return func(m *Memory) {
			m.Sandbox = m.Sandbox.Next(now, "FailedCreatePodSandBox", message, firstSandbox, lastSandbox)
		}
	}
	return func(m *Memory) { m.Sandbox = Retry{} }
}

func stopSandbox(ctx context.Context, w *Worker, _ Input, a Action) func(*Memory) {
	if err := w.deps.Runtime.StopPodSandbox(ctx, a.ID); err != nil {
		if ctx.Err() == nil {
			w.deps.Logger.Warn("cannot stop sandbox", "pod", w.name(), "sandbox", a.ID, "err", err)
		}
		run.Pause(ctx, firstRetry)
		return nil
	}
	return func(m *Memory) { m.Stopped[a.ID] = true }
}

func removeSandbox(ctx context.Context, w *Worker, _ Input, a Action) func(*Memory) {
	if err := w.deps.Runtime.RemovePodSandbox(ctx, a.ID); err != nil && ctx.Err() == nil {
		w.deps.Logger.Warn("cannot remove sandbox", "pod", w.name(), "sandbox", a.ID, "err", err)
		run.Pause(ctx, firstRetry)
	}
	return nil
}

func removeContainer(ctx context.Context, w *Worker, in Input, a Action) func(*Memory) {
	last := in.Observed.ByID(a.ID)
	if err := w.deps.Runtime.RemoveContainer(ctx, a.ID); err != nil && ctx.Err() == nil {
		w.deps.Logger.Warn("cannot remove container", "pod", w.name(), "container", a.ID, "err", err)
		run.Pause(ctx, firstRetry)
		return nil
	}
	if last == nil {
		return nil
	}
	_ = removeLogs(last.LogPath)
	if !a.Restart {
		return nil
	}
	now := time.Now()
	return func(m *Memory) { m.Crash[a.Name] = m.Crash[a.Name].Next(last.FinishedAt, now) }
}

func report(ctx context.Context, w *Worker, _ Input, _ Action) func(*Memory) {
	if err := w.writer.Flush(ctx); err != nil {
		return nil
	}
	return func(m *Memory) { m.Reported = true }
}

func forget(ctx context.Context, w *Worker, in Input, _ Action) func(*Memory) {
	none := int64(0)
	opts := metav1.DeleteOptions{GracePeriodSeconds: &none, Preconditions: &metav1.Preconditions{UID: &in.Pod.UID}}
	for delay := firstSandbox; ; delay = min(2*delay, lastSandbox) {
		err := w.deps.Cluster.Delete(ctx, kube.Pods, in.Pod.Namespace, in.Pod.Name, opts)
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) && w.replaced(ctx) {
			return func(m *Memory) { m.Forgotten = true }
		}
		if ctx.Err() != nil {
			return nil
		}
		w.deps.Logger.Warn("cannot delete pod from the API", "pod", w.name(), "err", err)
		run.Pause(ctx, delay)
	}
}

// replaced tells whether the pod's name belongs to another pod, or to none, by now.
func (w *Worker) replaced(ctx context.Context) bool {
	current, err := w.deps.Cluster.Live(ctx, kube.Pods, w.key.Namespace, w.key.Name)
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	return current.GetUID() != w.key.UID
}

func clean(ctx context.Context, w *Worker, _ Input, _ Action) func(*Memory) {
	err := errors.Join(w.deps.Volumes.Remove(ctx, w.key.UID), os.RemoveAll(w.deps.Node.LogDir(w.key)))
	if err != nil {
		w.deps.Logger.Warn("cannot remove the pod's directories", "pod", w.name(), "err", err)
		run.Pause(ctx, lastSandbox)
		return nil
	}
	return func(m *Memory) { m.Cleaned = true }
}

func (w *Worker) warn(pod *corev1.Pod, reason, message string) {
	w.deps.Events.About(events.Reference(pod), corev1.EventTypeWarning, reason, message)
}

func (w *Worker) containerEvent(pod *corev1.Pod, container, kind, reason, message string) {
	ref := events.Reference(pod)
	ref.FieldPath = fmt.Sprintf("spec.%s{%s}", fieldOf(pod, container), container)
	w.deps.Events.About(ref, kind, reason, message)
}

func fieldOf(pod *corev1.Pod, container string) string {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == container {
			return "initContainers"
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == container {
			return "ephemeralContainers"
		}
	}
	return "containers"
}
