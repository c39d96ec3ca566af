package controller_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/kube"
)

// TestEvictionsKeepToTheBudget: of three pods of a ReplicationController one may go, and the next eviction waits until there are three again.
func TestEvictionsKeepToTheBudget(t *testing.T) {
	w := newWorld(t)
	meta := metav1.ObjectMeta{Namespace: "default", Name: "web"}
	w.create(&corev1.ReplicationController{ObjectMeta: meta, Spec: corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](3), Template: ptr.To(template("web:1", nil))}})
	w.create(&policyv1.PodDisruptionBudget{ObjectMeta: meta, Spec: policyv1.PodDisruptionBudgetSpec{
		MaxUnavailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}})
	allowed := func(n int32) func() error {
		return func() error {
			b, _ := kube.Get[*policyv1.PodDisruptionBudget](w, kube.PodDisruptionBudgets, "default", "web")
			if b == nil || b.Status.ObservedGeneration == 0 || b.Status.DisruptionsAllowed != n || b.Status.ExpectedPods != 3 {
				return fmt.Errorf("budget %+v, want %d disruptions of 3 pods", b, n)
			}
			return nil
		}
	}
	evict := func(pod *corev1.Pod) error {
		_, err := w.CreateSub(w.ctx, kube.Pods, pod.Namespace, pod.Name, "eviction", &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}})
		return err
	}
	w.until(w.count(3))
	w.until(func() error { w.kubelet(); return allowed(1)() })
	pods := w.pods()
	if err := evict(pods[0]); err != nil {
		t.Fatalf("the first eviction: %v", err)
	}
	err := evict(pods[1])
	if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		t.Fatalf("the second eviction: %v, want too many requests", err)
	}
	if text := err.Error(); !strings.Contains(text, "Cannot evict pod as it would violate the pod's disruption budget") {
		t.Errorf("the second eviction: %s", text)
	}
	w.until(func() error {
		w.kubelet()
		if _, there := kube.Get[*corev1.Pod](w, kube.Pods, "default", pods[0].Name); there {
			return fmt.Errorf("pod %s is still there", pods[0].Name)
		}
		return allowed(1)()
	})
	if err := evict(pods[1]); err != nil {
		t.Errorf("an eviction after the pod was replaced: %v", err)
	}
}
