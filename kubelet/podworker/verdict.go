package podworker

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// Stage is where a pod is in its life on this node. A pod moves down this list and never up.
type Stage string

// The stages.
const (
	Active    Stage = "active"    // make it run
	Finishing Stage = "finishing" // its end is decided: stop what still runs, keep the records
	Deleting  Stage = "deleting"  // stop everything, then remove every trace
)

// Verdict is the judgement over a whole pod.
type Verdict struct {
	Stage Stage
	Outcome
}

func (v Verdict) String() string {
	if v.Phase == "" {
		return string(v.Stage)
	}
	return fmt.Sprintf("%s %s %s", v.Stage, v.Phase, v.Reason)
}

// Judge decides the stage of a pod.
func Judge(in Input) Verdict {
	verdict := Verdict{Stage: Active, Outcome: outcome(in)}
	switch {
	case in.Removed || in.Pod.DeletionTimestamp != nil:
		verdict.Stage = Deleting
	case verdict.Phase != "":
		verdict.Stage = Finishing
	}
	return verdict
}

func outcome(in Input) Outcome {
	pod := in.Pod
	if phase := pod.Status.Phase; phase == corev1.PodSucceeded || phase == corev1.PodFailed {
		return Outcome{Phase: phase, Reason: pod.Status.Reason, Message: pod.Status.Message}
	}
	if in.Memory.Rejected != nil {
		return *in.Memory.Rejected
	}
	if end, ok := Deadline(pod); ok && !in.Now.Before(end) {
		return Outcome{Phase: corev1.PodFailed, Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline"}
	}
	if phase, ok := Finished(pod, &in.Observed); ok {
		return Outcome{Phase: phase}
	}
	return Outcome{}
}

// Deadline returns when a pod has been active for too long.
func Deadline(pod *corev1.Pod) (time.Time, bool) {
	if pod.Spec.ActiveDeadlineSeconds == nil || pod.Status.StartTime == nil {
		return time.Time{}, false
	}
	return pod.Status.StartTime.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second), true
}

// Finished tells whether a pod's containers have reached the pod's end by themselves, and which.
func Finished(pod *corev1.Pod, observed *observe.Pod) (corev1.PodPhase, bool) {
	for i := range pod.Spec.InitContainers {
		init := &pod.Spec.InitContainers[i]
		if IsSidecar(init) {
			continue
		}
		last := observed.Newest(init.Name)
		if last != nil && last.State == observe.Exited && last.ExitCode != 0 && RestartRule(pod, init, last.ExitCode) == Leave {
			return corev1.PodFailed, true
		}
	}
	phase := corev1.PodSucceeded
	for i := range pod.Spec.Containers {
		container := &pod.Spec.Containers[i]
		last := observed.Newest(container.Name)
		if last == nil || last.State != observe.Exited || RestartRule(pod, container, last.ExitCode) != Leave {
			return "", false
		}
		if last.ExitCode != 0 {
			phase = corev1.PodFailed
		}
	}
	return phase, len(pod.Spec.Containers) > 0
}

// IsSidecar tells whether an init container runs beside the others for the pod's whole life.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways && len(c.RestartPolicyRules) == 0
}

// Consequence is what follows from a container's exit.
type Consequence string

// The consequences.
const (
	Leave      Consequence = "leave"
	Restart    Consequence = "restart"
	RestartAll Consequence = "restart-all"
)

// RestartRule says what follows when a container exits with a code: the first matching rule of the container, then the
// container's own policy, then the pod's.
func RestartRule(pod *corev1.Pod, c *corev1.Container, code int32) Consequence {
	for _, rule := range c.RestartPolicyRules {
		if rule.ExitCodes == nil {
			continue
		}
		in := slices.Contains(rule.ExitCodes.Values, code)
		if in != (rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			continue
		}
		if rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
			return RestartAll
		}
		return Restart
	}
	isInit := slices.ContainsFunc(pod.Spec.InitContainers, func(i corev1.Container) bool { return i.Name == c.Name })
	policy := pod.Spec.RestartPolicy
	if isInit && policy == corev1.RestartPolicyAlways {
		policy = corev1.RestartPolicyOnFailure // an init container that succeeded is done
	}
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch {
	case policy == corev1.RestartPolicyNever, policy == corev1.RestartPolicyOnFailure && code == 0:
		return Leave
	default:
		return Restart
	}
}
