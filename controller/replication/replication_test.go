package replication

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/controller/owned"
)

func TestDecideAndStatus(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	rc := &corev1.ReplicationController{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Generation: 2},
		Spec: corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](3), Selector: map[string]string{"app": "web"},
			Template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}}}
	ready := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"app": "web"}}, Status: corev1.PodStatus{Phase: corev1.PodRunning,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now)}}}}
	plan := Decide(rc, []*corev1.Pod{ready}, now)
	if got, want := plan.String(), "create; create; 1 replicas, 1 ready, 1 available"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	s := status(rc, plan.Counts, owned.Failure{Reason: "FailedCreate", Err: errors.New("no")}, now)
	if s.ObservedGeneration != 2 || s.Replicas != 1 || s.AvailableReplicas != 1 || len(s.Conditions) != 1 || s.Conditions[0].Type != corev1.ReplicationControllerReplicaFailure {
		t.Errorf("status: got %+v", s)
	}
}
