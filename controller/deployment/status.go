package deployment

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status counts what is there and keeps the conditions. again is the time left until the progress deadline.
func status(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, r *rollout, now time.Time) (appsv1.DeploymentStatus, time.Duration) {
	s := *d.Status.DeepCopy()
	s.ObservedGeneration = d.Generation
	s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.UpdatedReplicas = 0, 0, 0, 0
	terminating, wanted := int32(0), int32(0)
	for _, rs := range sets {
		s.Replicas += rs.Status.Replicas
		s.ReadyReplicas += rs.Status.ReadyReplicas
		s.AvailableReplicas += rs.Status.AvailableReplicas
		wanted += *rs.Spec.Replicas
		if rs.Status.TerminatingReplicas != nil {
			terminating += *rs.Status.TerminatingReplicas
		}
	}
	s.TerminatingReplicas = &terminating
	if r.current != nil {
		s.UpdatedReplicas = r.current.Status.Replicas
	}
	s.UnavailableReplicas = max(0, wanted-s.AvailableReplicas)
	c := conditions{list: s.Conditions, now: now}
	if s.AvailableReplicas >= r.replicas-r.unavail {
		c.set(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.", false)
	} else {
		c.set(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", false)
	}
	again := progress(d, &s, r, &c)
	failure(sets, r, &c)
	s.Conditions = c.list
	return s, again
}

// progress keeps the Progressing condition, which kubectl rollout status reads.
func progress(d *appsv1.Deployment, s *appsv1.DeploymentStatus, r *rollout, c *conditions) time.Duration {
	if d.Spec.ProgressDeadlineSeconds == nil || *d.Spec.ProgressDeadlineSeconds == noDeadline {
		c.remove(appsv1.DeploymentProgressing)
		return 0
	}
	before := c.get(appsv1.DeploymentProgressing)
	name := fmt.Sprintf("ReplicaSet %q", r.name)
	complete := s.UpdatedReplicas == r.replicas && s.Replicas == r.replicas && s.AvailableReplicas == r.replicas
	switch {
	case d.Spec.Paused:
		if before == nil || before.Reason != "DeploymentPaused" {
			c.set(appsv1.DeploymentProgressing, corev1.ConditionUnknown, "DeploymentPaused", "Deployment is paused", true)
		}
		return 0
	case before != nil && before.Reason == "DeploymentPaused":
		c.set(appsv1.DeploymentProgressing, corev1.ConditionUnknown, "DeploymentResumed", "Deployment is resumed", true)
	case r.current == nil:
		c.set(appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetCreated", "Created new replica set "+fmt.Sprintf("%q", r.name), true)
	case complete:
		c.set(appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetAvailable", name+" has successfully progressed.", before == nil || before.Reason != "NewReplicaSetAvailable")
		return 0
	case before != nil && before.Reason == "NewReplicaSetAvailable" && s.UpdatedReplicas == s.Replicas:
		return 0 // a finished rollout that lost a pod is not a rollout again
	case before != nil && before.Reason == "NewReplicaSetAvailable":
		c.set(appsv1.DeploymentProgressing, corev1.ConditionTrue, "FoundNewReplicaSet", "Found new replica set "+fmt.Sprintf("%q", r.name), true)
	case before == nil || advanced(&d.Status, s):
		c.set(appsv1.DeploymentProgressing, corev1.ConditionTrue, "ReplicaSetUpdated", name+" is progressing.", true)
	}
	present := c.get(appsv1.DeploymentProgressing)
	if present.Reason == "ProgressDeadlineExceeded" {
		return 0
	}
	deadline := present.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second)
	if left := deadline.Sub(c.now); left > 0 {
		return left
	}
	c.set(appsv1.DeploymentProgressing, corev1.ConditionFalse, "ProgressDeadlineExceeded", name+" has timed out progressing.", true)
	return 0
}

// noDeadline is the value of progressDeadlineSeconds that upstream reads as "never".
const noDeadline = 1<<31 - 1

// advanced says whether a rollout moved on between two statuses.
func advanced(before, after *appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas || after.AvailableReplicas > before.AvailableReplicas
}

// failure passes on why pods could not be made.
func failure(sets []*appsv1.ReplicaSet, r *rollout, c *conditions) {
	order := sets
	if r.current != nil {
		order = append([]*appsv1.ReplicaSet{r.current}, sets...)
	}
	for _, rs := range order {
		for _, cond := range rs.Status.Conditions {
			if cond.Type == appsv1.ReplicaSetReplicaFailure && cond.Status == corev1.ConditionTrue {
				c.set(appsv1.DeploymentReplicaFailure, cond.Status, cond.Reason, cond.Message, false)
				return
			}
		}
	}
	c.remove(appsv1.DeploymentReplicaFailure)
}

// conditions is a list of conditions under change.
type conditions struct {
	list []appsv1.DeploymentCondition
	now  time.Time
}

func (c *conditions) get(t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range c.list {
		if c.list[i].Type == t {
			return &c.list[i]
		}
	}
	return nil
}

// set writes a condition. An equal one stays as it is, unless touch asks for a new update time.
func (c *conditions) set(t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, touch bool) {
	next := appsv1.DeploymentCondition{Type: t, Status: status, Reason: reason, Message: message,
		LastUpdateTime: metav1.NewTime(c.now), LastTransitionTime: metav1.NewTime(c.now)}
	before := c.get(t)
	if before == nil {
		c.list = append(c.list, next)
		return
	}
	if before.Status == status {
		next.LastTransitionTime = before.LastTransitionTime
		if before.Reason == reason && before.Message == message && !touch {
			return
		}
	}
	*before = next
}

func (c *conditions) remove(t appsv1.DeploymentConditionType) {
	for i := range c.list {
		if c.list[i].Type == t {
			c.list = append(c.list[:i:i], c.list[i+1:]...)
			return
		}
	}
}
