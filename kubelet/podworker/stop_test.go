package podworker

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestWaived(t *testing.T) {
	sleeps := &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}
	runs := &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"save"}}}
	for _, c := range []struct {
		name       string
		hook       *corev1.LifecycleHandler
		own, given *int64
		want       bool
	}{
		{"deleted with its own grace", sleeps, ptr.To[int64](10), ptr.To[int64](10), false},
		{"deleted in a hurry", sleeps, ptr.To[int64](10), ptr.To[int64](0), true},
		{"a hook that does something is never left out", runs, ptr.To[int64](10), ptr.To[int64](0), false},
		{"not being deleted", sleeps, ptr.To[int64](10), nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: c.own}}
			pod.DeletionGracePeriodSeconds = c.given
			if got := waived(pod, c.hook); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
