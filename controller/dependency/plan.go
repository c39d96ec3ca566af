package dependency

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/kube"
)

// Condition is one entry of a service's depends_on, in Compose's words.
type Condition struct {
	Service   string `json:"service"`
	Condition string `json:"condition"` // service_started, service_healthy or service_completed_successfully
}

// progress is how far one pod has come, as conditions see it.
type progress struct{ started, ready, succeeded, finished bool }

func state(pod *corev1.Pod) progress {
	started := len(pod.Status.ContainerStatuses) > 0
	for _, c := range pod.Status.ContainerStatuses {
		started = started && (c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil)
	}
	return progress{
		started:   started,
		ready:     kube.PodReady(pod),
		succeeded: pod.Status.Phase == corev1.PodSucceeded,
		finished:  kube.PodFinished(pod),
	}
}

// Met says whether every condition holds for the project's pods. A service without pods meets none.
func Met(conditions []Condition, project string, pods []*corev1.Pod) bool {
	for _, cond := range conditions {
		count := 0
		for _, pod := range pods {
			if pod.Labels[api.LabelProject] != project || pod.Labels[api.LabelService] != cond.Service ||
				pod.Labels[api.LabelOneOff] == "true" || pod.DeletionTimestamp != nil {
				continue
			}
			count++
			if !holds(cond.Condition, state(pod)) {
				return false
			}
		}
		if count == 0 {
			return false
		}
	}
	return true
}

func holds(condition string, p progress) bool {
	switch condition {
	case "service_healthy":
		return p.ready
	case "service_completed_successfully":
		return p.succeeded
	}
	return p.started
}
