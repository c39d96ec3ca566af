package podworker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kubelet/observe"
	"github.com/cuppa-project/cuppa/kubelet/qos"
)

// Surroundings is what a pod's status says about the node.
type Surroundings struct {
	HostIPs     []string
	RuntimeName string // the scheme of container IDs: "containerd"
}

// Status describes a pod for the API. It is pure; previous is the last status this node reported, or the API's own at first, and
// gives the times at which conditions changed.
func Status(in Input, verdict Verdict, previous corev1.PodStatus, around Surroundings) corev1.PodStatus {
	s := describer{Input: in, verdict: verdict, previous: previous, around: around}
	out := corev1.PodStatus{
		ObservedGeneration: in.Pod.Generation,
		QOSClass:           qos.Of(in.Pod),
		StartTime:          previous.StartTime,
		Resize:             previous.Resize,
		NominatedNodeName:  previous.NominatedNodeName,
	}
	if out.StartTime == nil {
		start := metav1.NewTime(in.Now.Truncate(time.Second))
		out.StartTime = &start
	}
	for i := range in.Pod.Spec.InitContainers {
		out.InitContainerStatuses = append(out.InitContainerStatuses, s.container(&in.Pod.Spec.InitContainers[i], previous.InitContainerStatuses, true))
	}
	for i := range in.Pod.Spec.Containers {
		out.ContainerStatuses = append(out.ContainerStatuses, s.container(&in.Pod.Spec.Containers[i], previous.ContainerStatuses, false))
	}
	for i := range in.Pod.Spec.EphemeralContainers {
		c := corev1.Container(in.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		out.EphemeralContainerStatuses = append(out.EphemeralContainerStatuses, s.container(&c, previous.EphemeralContainerStatuses, false))
	}
	s.addresses(&out)
	out.Phase = s.phase(out)
	if out.Phase == corev1.PodFailed || verdict.Reason != "" {
		out.Reason, out.Message = verdict.Reason, verdict.Message
	}
	out.Conditions = s.conditions(out)
	return out
}

type describer struct {
	Input
	verdict  Verdict
	previous corev1.PodStatus
	around   Surroundings
}

func (d *describer) addresses(out *corev1.PodStatus) {
	for _, ip := range d.around.HostIPs {
		out.HostIPs = append(out.HostIPs, corev1.HostIP{IP: ip})
	}
	if len(d.around.HostIPs) > 0 {
		out.HostIP = d.around.HostIPs[0]
	}
	ips := PodIPs(d.Pod, &d.Observed, d.around)
	if len(ips) == 0 {
		out.PodIP, out.PodIPs = d.previous.PodIP, d.previous.PodIPs
		return
	}
	out.PodIP = ips[0]
	for _, ip := range ips {
		out.PodIPs = append(out.PodIPs, corev1.PodIP{IP: ip})
	}
}

// PodIPs are a pod's addresses: its sandbox's, or the node's when it is on the host's network.
func PodIPs(pod *corev1.Pod, observed *observe.Pod, around Surroundings) []string {
	sandbox, ok := observed.Ready()
	switch {
	case !ok:
		return nil
	case pod.Spec.HostNetwork:
		return around.HostIPs
	default:
		return sandbox.IPs
	}
}

// initialized tells whether every init container has done its work or, if it is a sidecar, has started.
func (d *describer) initialized(statuses []corev1.ContainerStatus) (waiting []string) {
	if d.mainStarted() {
		return nil
	}
	for i := range d.Pod.Spec.InitContainers {
		c, s := &d.Pod.Spec.InitContainers[i], statuses[i]
		if IsSidecar(c) && (s.Started == nil || !*s.Started) || !IsSidecar(c) && !s.Ready {
			waiting = append(waiting, c.Name)
		}
	}
	return waiting
}

// mainStarted tells whether a container that waits for the init containers exists in the newest sandbox.
func (d *describer) mainStarted() bool {
	if len(d.Observed.Sandboxes) == 0 {
		return false
	}
	for i := range d.Pod.Spec.Containers {
		c := d.Observed.Newest(d.Pod.Spec.Containers[i].Name)
		if c != nil && c.SandboxID == d.Observed.Sandboxes[0].ID && c.State != observe.Created {
			return true
		}
	}
	return false
}

func (d *describer) phase(out corev1.PodStatus) corev1.PodPhase {
	running := d.Observed.AnyRunning()
	switch {
	case d.verdict.Phase != "" && !running:
		return d.verdict.Phase
	case d.verdict.Stage != Active && running:
		return corev1.PodRunning
	case d.verdict.Stage == Deleting && len(d.Observed.Containers) > 0:
		return endPhase(out)
	case d.verdict.Stage != Active && d.previous.Phase != "":
		return d.previous.Phase
	case len(d.initialized(out.InitContainerStatuses)) > 0:
		return corev1.PodPending
	}
	for _, s := range out.ContainerStatuses {
		if s.State.Waiting != nil && s.LastTerminationState.Terminated == nil {
			return corev1.PodPending
		}
	}
	return corev1.PodRunning
}

// endPhase is the phase of a pod that was stopped because it was deleted.
func endPhase(out corev1.PodStatus) corev1.PodPhase {
	for _, s := range out.ContainerStatuses {
		if s.State.Terminated == nil || s.State.Terminated.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

// OwnedConditions are the conditions that a node reports. Others belong to whoever wrote them.
func OwnedConditions() []corev1.PodConditionType {
	return []corev1.PodConditionType{
		corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
		corev1.PodResizePending, corev1.PodResizeInProgress,
	}
}

func (d *describer) conditions(out corev1.PodStatus) []corev1.PodCondition {
	waiting := d.initialized(out.InitContainerStatuses)
	unready, unknown := d.unready(out)
	completed := map[corev1.PodPhase]string{corev1.PodSucceeded: "PodCompleted", corev1.PodFailed: "PodFailed"}[out.Phase]

	initialized := yes(corev1.PodInitialized)
	switch {
	case len(waiting) > 0 && out.Phase != corev1.PodSucceeded:
		initialized = no(corev1.PodInitialized, "ContainersNotInitialized", "containers with incomplete status: ["+strings.Join(waiting, " ")+"]")
	case out.Phase == corev1.PodSucceeded:
		initialized.Reason = completed
	}
	ready := yes(corev1.ContainersReady)
	switch {
	case completed != "":
		ready = no(corev1.ContainersReady, completed, "")
	case len(unready)+len(unknown) > 0:
		ready = no(corev1.ContainersReady, "ContainersNotReady", "containers with unready status: ["+strings.Join(append(unknown, unready...), " ")+"]")
	}
	sandbox, has := d.Observed.Ready()
	network := no(corev1.PodReadyToStartContainers, "", "")
	if has && (d.Pod.Spec.HostNetwork || len(sandbox.IPs) > 0) && completed == "" {
		network = yes(corev1.PodReadyToStartContainers)
	}
	list := []corev1.PodCondition{network, initialized, d.ready(ready), ready, yes(corev1.PodScheduled)}
	list = append(list, d.resizeConditions()...)
	for i := range list {
		list[i].ObservedGeneration = d.Pod.Generation
		list[i].LastTransitionTime = d.since(list[i])
	}
	return list
}

func (d *describer) unready(out corev1.PodStatus) (unready, unknown []string) {
	for i, s := range out.InitContainerStatuses {
		if IsSidecar(&d.Pod.Spec.InitContainers[i]) && !s.Ready {
			unready = append(unready, s.Name)
		}
	}
	for _, s := range out.ContainerStatuses {
		if !s.Ready {
			unready = append(unready, s.Name)
		}
	}
	return unready, unknown
}

// ready adds the pod's readiness gates, conditions that somebody else sets, to its containers' readiness.
func (d *describer) ready(containers corev1.PodCondition) corev1.PodCondition {
	if containers.Status != corev1.ConditionTrue {
		return no(corev1.PodReady, containers.Reason, containers.Message)
	}
	var missing []string
	for _, gate := range d.Pod.Spec.ReadinessGates {
		i := slices.IndexFunc(d.Pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == gate.ConditionType })
		switch {
		case i < 0:
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case d.Pod.Status.Conditions[i].Status != corev1.ConditionTrue:
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, d.Pod.Status.Conditions[i].Status))
		}
	}
	if len(missing) > 0 {
		return no(corev1.PodReady, "ReadinessGatesNotReady", strings.Join(missing, ", "))
	}
	return yes(corev1.PodReady)
}

func yes(kind corev1.PodConditionType) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue}
}

func no(kind corev1.PodConditionType, reason, message string) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
}

// since is when a condition took the status it has.
func (d *describer) since(c corev1.PodCondition) metav1.Time {
	for _, list := range [][]corev1.PodCondition{d.previous.Conditions, d.Pod.Status.Conditions} {
		for _, old := range list {
			if old.Type == c.Type && old.Status == c.Status {
				return old.LastTransitionTime
			}
		}
	}
	return metav1.NewTime(d.Now.Truncate(time.Second))
}
