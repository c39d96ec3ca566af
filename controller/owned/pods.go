package owned

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kube"
)

// Unfinished refuses to adopt pods that have ended: nothing is gained by owning them.
func Unfinished(pod *corev1.Pod) bool { return !kube.PodFinished(pod) }

// Failure is why pods could not be made or removed, as the ReplicaFailure condition tells it. The zero value is none. A race that was lost while
// claiming pods is no such failure.
type Failure struct {
	Reason string // FailedCreate or FailedDelete
	Err    error
}

// Join adds another error to the failure's.
func (f Failure) Join(err error) error { return errors.Join(f.Err, err) }

// Carry does what a plan says.
func Carry(ctx context.Context, f Family[*corev1.Pod], owner kube.Object, wish Replicas, plan ReplicaPlan) Failure {
	if err := f.Create(ctx, owner, wish.Pods(f.Owner, plan)); err != nil {
		return Failure{"FailedCreate", err}
	}
	if err := f.Delete(ctx, owner, plan.Delete); err != nil {
		return Failure{"FailedDelete", err}
	}
	return Failure{}
}

// Conditions keeps the failure condition in a list of some kind's conditions: made when a failure appears, left as it is while one lasts, dropped when
// there is none. Is finds it, and make makes it.
func Conditions[C any](list []C, failure Failure, is func(C) bool, make func(reason, message string, since metav1.Time) C, now time.Time) []C {
	var kept []C
	there := false
	for _, c := range list {
		if is(c) {
			if failure.Err == nil {
				continue
			}
			there = true
		}
		kept = append(kept, c)
	}
	if failure.Err != nil && !there {
		kept = append(kept, make(failure.Reason, failure.Err.Error(), metav1.NewTime(now)))
	}
	return kept
}
