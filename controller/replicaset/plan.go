package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/controller/owned"
)

// Decide compares a ReplicaSet with its own pods.
func Decide(rs *appsv1.ReplicaSet, own []*corev1.Pod, now time.Time) owned.ReplicaPlan {
	return wish(rs).Decide(own, now)
}

func wish(rs *appsv1.ReplicaSet) owned.Replicas {
	return owned.Replicas{Owner: rs, Want: rs.Spec.Replicas, Template: &rs.Spec.Template, MinReady: rs.Spec.MinReadySeconds}
}

// status is what the ReplicaSet tells of the pods that were there when the plan was made, and of what came of the plan.
func status(rs *appsv1.ReplicaSet, n owned.Counts, failure owned.Failure, now time.Time) appsv1.ReplicaSetStatus {
	s := *rs.Status.DeepCopy()
	s.ObservedGeneration = rs.Generation
	s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas = n.Replicas, n.FullyLabeled, n.Ready, n.Available
	s.TerminatingReplicas = &n.Terminating
	s.Conditions = owned.Conditions(s.Conditions, failure,
		func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure },
		func(reason, message string, since metav1.Time) appsv1.ReplicaSetCondition {
			return appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
				Reason: reason, Message: message, LastTransitionTime: since}
		}, now)
	return s
}
