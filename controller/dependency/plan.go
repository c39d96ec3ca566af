package dependency

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/kube"
)

// Condition is one entry of a service's depends_on, in Compose's words.
type Condition struct {
	Service   string `json:"service"`
	Condition string `json:"condition"` // service_started, service_healthy or service_completed_successfully
	// Required is false of a dependency without which the service starts too, once it is clear that it will not come. nil is true.
	Required *bool `json:"required,omitempty"`
	// Patience is after how many seconds a running container that is still not healthy counts as unhealthy. 0 is never.
	Patience int64 `json:"patience,omitempty"`
}

func (c Condition) optional() bool { return c.Required != nil && !*c.Required }

// progress is how far one pod has come, as conditions see it.
type progress struct {
	started, ready, succeeded, finished bool
	since                               time.Time // when its container was last started; zero if it does not run
}

func state(pod *corev1.Pod) progress {
	p := progress{
		started:   len(pod.Status.ContainerStatuses) > 0,
		ready:     kube.PodReady(pod),
		succeeded: pod.Status.Phase == corev1.PodSucceeded,
		finished:  kube.PodFinished(pod),
	}
	for _, c := range pod.Status.ContainerStatuses {
		p.started = p.started && (c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil)
		if c.State.Running != nil {
			p.since = c.State.Running.StartedAt.Time
		}
	}
	return p
}

// Service is what is wanted of a service: how many pods of which version.
type Service struct {
	Replicas int
	Version  string
}

// services reads what is wanted off the project's Deployments.
func services(deployments []*appsv1.Deployment) map[string]Service {
	wanted := map[string]Service{}
	for _, d := range deployments {
		s := Service{Replicas: 1, Version: api.VersionOf(d.Spec.Template.Annotations)}
		if d.Spec.Replicas != nil {
			s.Replicas = int(*d.Spec.Replicas)
		}
		wanted[d.Labels[api.LabelService]] = s
	}
	return wanted
}

// Decision is what becomes of a waiting pod.
type Decision struct {
	Lift bool
	// Look is when to look again although nothing has been heard; 0: not before something is.
	Look time.Duration
	// Why names the condition that holds the pod back.
	Why string
}

// String is the decision in words.
func (d Decision) String() string {
	switch {
	case d.Lift:
		return "lift"
	case d.Look > 0:
		return "wait for " + d.Why + ", look again in " + d.Look.String()
	}
	return "wait for " + d.Why
}

// Decide says whether every condition holds for the project's pods.
//
// Only pods of the version that is wanted now count: one that is about to be replaced may be healthy, or have completed, long before the change
// that the waiting pod needs. A service without pods meets no condition, unless nobody needs it and nobody wants any.
func Decide(now time.Time, conditions []Condition, project string, wanted map[string]Service, pods []*corev1.Pod) Decision {
	for _, c := range conditions {
		if d := decide(now, c, project, wanted, pods); !d.Lift {
			d.Why = c.Service + " (" + c.Condition + ")"
			return d
		}
	}
	return Decision{Lift: true}
}

func decide(now time.Time, c Condition, project string, wanted map[string]Service, pods []*corev1.Pod) Decision {
	service, known := wanted[c.Service]
	if c.optional() && (!known || service.Replicas == 0) {
		return Decision{Lift: true}
	}
	count := 0
	for _, pod := range pods {
		if !counts(pod, project, c.Service) || known && api.VersionOf(pod.Annotations) != service.Version {
			continue
		}
		count++
		if d := one(now, c, state(pod)); !d.Lift {
			return d
		}
	}
	return Decision{Lift: count > 0 && count >= service.Replicas}
}

func counts(pod *corev1.Pod, project, service string) bool {
	return pod.Labels[api.LabelProject] == project && pod.Labels[api.LabelService] == service &&
		pod.Labels[api.LabelOneOff] != "true" && pod.DeletionTimestamp == nil
}

// one decides for one pod of a dependency.
func one(now time.Time, c Condition, p progress) Decision {
	if holds(c.Condition, p) || c.optional() && p.finished {
		return Decision{Lift: true}
	}
	if c.optional() && c.Condition == "service_healthy" && c.Patience > 0 && !p.since.IsZero() {
		left := time.Duration(c.Patience)*time.Second - now.Sub(p.since)
		return Decision{Lift: left <= 0, Look: max(left, 0)}
	}
	return Decision{}
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
