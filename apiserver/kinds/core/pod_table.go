package core

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

var podFieldNames = []string{
	"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
	"status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
}

func podFields(obj registry.Object) fields.Set {
	pod := obj.(*corev1.Pod)
	return meta.WithFields(obj, fields.Set{
		"spec.nodeName":            pod.Spec.NodeName,
		"spec.restartPolicy":       string(pod.Spec.RestartPolicy),
		"spec.schedulerName":       pod.Spec.SchedulerName,
		"spec.serviceAccountName":  pod.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(pod.Spec.HostNetwork),
		"status.phase":             string(pod.Status.Phase),
		"status.podIP":             pod.Status.PodIP,
		"status.podIPs":            podIPs(pod),
		"status.nominatedNodeName": pod.Status.NominatedNodeName,
	})
}

// podIPs is the first address, as upstream's selector sees it.
func podIPs(pod *corev1.Pod) string {
	if len(pod.Status.PodIPs) == 0 {
		return ""
	}
	return pod.Status.PodIPs[0].IP
}

func podColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Ready", "string", "The aggregate readiness state of this pod for accepting traffic."),
		meta.Col("Status", "string", "The aggregate status of the containers in this pod."),
		meta.Col("Restarts", "string", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
		meta.AgeColumn(),
		meta.Wide("IP", "string", "The primary address of the pod."),
		meta.Wide("Node", "string", "The node that the pod is assigned to."),
		meta.Wide("Nominated Node", "string", "The node that the pod may take once others have left it."),
		meta.Wide("Readiness Gates", "string", "How many of the pod's own readiness conditions hold."),
	}
}

func podCells(pod *corev1.Pod) []any {
	s := summarizePod(pod)
	ip := "<none>"
	if len(pod.Status.PodIPs) > 0 {
		ip = meta.OrDefault(pod.Status.PodIPs[0].IP, "<none>")
	}
	restarts := fmt.Sprint(s.restarts)
	if s.restarts != 0 && !s.restartedAt.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", s.restarts, duration.HumanDuration(time.Since(s.restartedAt)))
	}
	return []any{pod.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.reason, restarts, meta.Age(pod.CreationTimestamp),
		ip, meta.OrDefault(pod.Spec.NodeName, "<none>"), meta.OrDefault(pod.Status.NominatedNodeName, "<none>"), readinessGates(pod)}
}

// podSummary is a pod in the words of its table row.
type podSummary struct {
	ready, total int
	restarts     int
	restartedAt  time.Time
	reason       string
}

// summarizePod works out one word for the state of a pod: that of the last container in trouble, else that of the pod. Init
// containers come first, as their trouble hides that of the others.
func summarizePod(pod *corev1.Pod) podSummary {
	s := podSummary{total: len(pod.Spec.Containers), reason: string(pod.Status.Phase)}
	if pod.Status.Reason != "" {
		s.reason = pod.Status.Reason
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.reason = corev1.PodReasonSchedulingGated
		}
	}
	sidecars := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		if podspec.RestartableInit(&pod.Spec.InitContainers[i]) {
			sidecars[pod.Spec.InitContainers[i].Name] = true
			s.total++
		}
	}
	initializing := s.init(pod, sidecars)
	if !initializing || isInitialized(pod) {
		s.main(pod)
	}
	if pod.DeletionTimestamp != nil {
		switch {
		case pod.Status.Reason == "NodeLost":
			s.reason = "Unknown"
		case pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed:
			s.reason = "Terminating"
		}
	}
	return s
}

// init follows the init containers up to the one that is under way, and reports whether there is one.
func (s *podSummary) init(pod *corev1.Pod, sidecars map[string]bool) bool {
	var sidecarRestarts int
	var sidecarAt time.Time
	initializing := false
	for i := range pod.Status.InitContainerStatuses {
		c := &pod.Status.InitContainerStatuses[i]
		s.restarts += int(c.RestartCount)
		s.restartedAt = later(s.restartedAt, c)
		if sidecars[c.Name] {
			sidecarRestarts += int(c.RestartCount)
			sidecarAt = later(sidecarAt, c)
		}
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
			continue
		case sidecars[c.Name] && ptr.Deref(c.Started, false):
			if c.Ready {
				s.ready++
			}
			continue
		case c.State.Terminated != nil:
			s.reason = "Init:" + terminatedReason(c.State.Terminated)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			s.reason = "Init:" + c.State.Waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(pod.Spec.InitContainers))
		}
		initializing = true
		break
	}
	if !initializing || isInitialized(pod) {
		// From here on only sidecars count: the other init containers are history.
		s.restarts, s.restartedAt = sidecarRestarts, sidecarAt
	}
	return initializing
}

// main follows the ordinary containers; the first one in trouble gives the word.
func (s *podSummary) main(pod *corev1.Pod) {
	running := false
	for i := len(pod.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &pod.Status.ContainerStatuses[i]
		s.restarts += int(c.RestartCount)
		s.restartedAt = later(s.restartedAt, c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = terminatedReason(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason == "Completed" && running {
		s.reason = "NotReady"
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				s.reason = "Running"
			}
		}
	}
}

func terminatedReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func later(t time.Time, c *corev1.ContainerStatus) time.Time {
	if last := c.LastTerminationState.Terminated; last != nil && last.FinishedAt.After(t) {
		return last.FinishedAt.Time
	}
	return t
}

func isInitialized(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodInitialized {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func readinessGates(pod *corev1.Pod) string {
	if len(pod.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	hold := 0
	for _, gate := range pod.Spec.ReadinessGates {
		for _, c := range pod.Status.Conditions {
			if c.Type == gate.ConditionType {
				if c.Status == corev1.ConditionTrue {
					hold++
				}
				break
			}
		}
	}
	return fmt.Sprintf("%d/%d", hold, len(pod.Spec.ReadinessGates))
}
