package podworker

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// container describes one container: what its newest incarnation does, and how the one before ended.
func (d *describer) container(c *corev1.Container, before []corev1.ContainerStatus, init bool) corev1.ContainerStatus {
	out := corev1.ContainerStatus{Name: c.Name, Image: c.Image, VolumeMounts: mountStatuses(c)}
	no := false
	out.Started = &no
	all := d.Observed.Named(c.Name)
	if len(all) == 0 {
		return d.absent(out, c, before, init)
	}
	newest := all[0]
	out.RestartCount = int32(newest.Attempt)
	out.ContainerID = d.containerID(newest)
	out.ImageID, out.User = newest.ImageID, newest.User
	d.resources(&out, c, before)
	if i := slices.IndexFunc(all[1:], func(o observe.Container) bool { return o.State == observe.Exited }); i >= 0 {
		out.LastTerminationState.Terminated = d.terminated(all[1+i])
	}
	switch newest.State {
	case observe.Created:
		out.State.Waiting = d.waiting(c)
	case observe.Running, observe.Unknown:
		out.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(newest.StartedAt)}
		probe, asked := d.Probes[newest.ID]
		if !asked {
			probe = reportedProbe(out.ContainerID, c.Name, before)
		}
		started := probe.Started
		out.Started = &started
		out.Ready = probe.Ready && started && d.verdict.Phase == "" && (!init || IsSidecar(c))
	default:
		out.State.Terminated = d.terminated(newest)
		if waiting := d.again(c, newest); waiting != nil {
			out.LastTerminationState.Terminated = out.State.Terminated
			out.State = corev1.ContainerState{Waiting: waiting}
		}
		out.Ready = init && !IsSidecar(c) && newest.ExitCode == 0
	}
	return out
}

// reportedProbe is what was last told of a running container. One that is being stopped to make room for its successor is asked nothing any more,
// and is what it was until its end.
func reportedProbe(id, name string, before []corev1.ContainerStatus) Probe {
	for _, s := range before {
		if s.Name == name && s.ContainerID == id && s.State.Running != nil {
			return Probe{Ready: s.Ready, Started: s.Started != nil && *s.Started}
		}
	}
	return Probe{}
}

// again is what a container that exited waits for before it is started once more, or nil if it does not wait.
func (d *describer) again(c *corev1.Container, last observe.Container) *corev1.ContainerStateWaiting {
	if d.verdict.Stage != Active || RestartRule(d.Pod, c, last.ExitCode) == Leave {
		return nil
	}
	backoff := d.Memory.Crash[c.Name]
	held := backoff.Until(last.FinishedAt).After(d.Now)
	retry := d.Memory.Start[c.Name]
	// Why it could not start is told for a moment; after that, that it is held back because it keeps failing.
	if retry.Failed() && (!held || isImageReason(retry.Reason) || d.Now.Before(retry.Since.Add(failureShown))) {
		return d.failure(retry)
	}
	if !held {
		return nil
	}
	return &corev1.ContainerStateWaiting{Reason: ReasonCrashLoopBackOff, Message: CrashMessage(d.Pod, c.Name, backoff.Delay)}
}

// CrashMessage tells how long a container that keeps failing is held back.
func CrashMessage(pod *corev1.Pod, container string, delay time.Duration) string {
	return fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", delay, container, pod.Name, pod.Namespace, pod.UID)
}

// absent describes a container that the runtime does not have: one that never was, or one whose record is lost.
func (d *describer) absent(out corev1.ContainerStatus, c *corev1.Container, before []corev1.ContainerStatus, init bool) corev1.ContainerStatus {
	i := slices.IndexFunc(before, func(s corev1.ContainerStatus) bool { return s.Name == c.Name })
	if i >= 0 {
		old := before[i]
		out.RestartCount, out.LastTerminationState = old.RestartCount, old.LastTerminationState
		switch {
		case old.State.Terminated != nil && d.verdict.Stage != Active:
			return old
		case old.State.Terminated != nil:
			out.LastTerminationState.Terminated = old.State.Terminated
		case old.State.Running != nil:
			out.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
				ExitCode: 137, Reason: "ContainerStatusUnknown",
				Message: "The container could not be located when the pod was observed. The container used to be Running",
			}
		}
	}
	out.State.Waiting = d.waiting(c)
	return out
}

func (d *describer) waiting(c *corev1.Container) *corev1.ContainerStateWaiting {
	if retry := d.Memory.Start[c.Name]; retry.Failed() {
		return d.failure(retry)
	}
	reason := ReasonContainerCreating
	if len(d.Pod.Spec.InitContainers) > 0 {
		reason = ReasonPodInitializing
	}
	return &corev1.ContainerStateWaiting{Reason: reason}
}

// failure describes a start that failed. A failed pull is shown as such for a moment, and as backed off from then on.
func (d *describer) failure(r Retry) *corev1.ContainerStateWaiting {
	if r.Reason == ReasonErrImagePull && !d.Now.Before(r.Since.Add(failureShown)) {
		return &corev1.ContainerStateWaiting{Reason: ReasonImagePullBackOff, Message: "Back-off pulling image: " + ReasonErrImagePull + ": " + r.Message}
	}
	return &corev1.ContainerStateWaiting{Reason: r.Reason, Message: r.Message}
}

func (d *describer) terminated(c observe.Container) *corev1.ContainerStateTerminated {
	reason := c.Reason
	if reason == "" {
		reason = "Completed"
		if c.ExitCode != 0 {
			reason = "Error"
		}
	}
	return &corev1.ContainerStateTerminated{
		ExitCode: c.ExitCode, Reason: reason, Message: c.Message, ContainerID: d.containerID(c),
		StartedAt: metav1.NewTime(c.StartedAt), FinishedAt: metav1.NewTime(c.FinishedAt),
	}
}

func (d *describer) containerID(c observe.Container) string {
	return d.around.RuntimeName + "://" + c.ID
}

func mountStatuses(c *corev1.Container) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		out = append(out, corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly, RecursiveReadOnly: m.RecursiveReadOnly})
	}
	return out
}
