package kube

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PodCondition returns the pod's condition of the type, or nil.
func PodCondition(pod *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == t {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// PodReady says whether the pod's Ready condition is true.
func PodReady(pod *corev1.Pod) bool {
	c := PodCondition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// PodFinished says whether the pod has ended for good.
func PodFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// PodAvailable says whether the pod has been ready for at least minReady; if it is ready but not for long enough, wait is the time left.
func PodAvailable(pod *corev1.Pod, minReady time.Duration, now time.Time) (available bool, wait time.Duration) {
	if !PodReady(pod) || pod.DeletionTimestamp != nil {
		return false, 0
	}
	if minReady == 0 {
		return true, 0
	}
	since := PodCondition(pod, corev1.PodReady).LastTransitionTime
	if since.IsZero() {
		return false, 0
	}
	left := since.Add(minReady).Sub(now)
	return left <= 0, max(left, 0)
}

// ControlledBy says whether owner is obj's controlling owner.
func ControlledBy(obj, owner metav1.Object) bool {
	ref := metav1.GetControllerOfNoCopy(obj)
	return ref != nil && ref.UID == owner.GetUID()
}
