package replicaset

import (
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/controller/owned"
)

func TestStatusTellsOfFailures(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	counts := owned.Counts{Replicas: 2, FullyLabeled: 2, Ready: 1, Terminating: 1}
	refused := owned.Failure{Reason: "FailedCreate", Err: errors.New("exceeded quota")}

	rs.Status = status(rs, counts, refused, now)
	if s := rs.Status; s.ObservedGeneration != 3 || s.Replicas != 2 || s.ReadyReplicas != 1 || *s.TerminatingReplicas != 1 || len(s.Conditions) != 1 {
		t.Fatalf("after a failure: got %+v", s)
	}
	want := appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate",
		Message: "exceeded quota", LastTransitionTime: metav1.NewTime(now)}
	if got := rs.Status.Conditions[0]; got != want {
		t.Errorf("condition: got %+v, want %+v", got, want)
	}
	rs.Status = status(rs, counts, owned.Failure{Reason: "FailedCreate", Err: errors.New("another text")}, now.Add(time.Minute))
	if got := rs.Status.Conditions[0]; got != want {
		t.Errorf("while it lasts: got %+v, want it as it was", got)
	}
	rs.Status = status(rs, counts, owned.Failure{}, now.Add(time.Hour))
	if len(rs.Status.Conditions) != 0 {
		t.Errorf("after it: got %+v, want none", rs.Status.Conditions)
	}
}
