package kubetest

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kube"
)

// RunSelected holds a Cluster whose pods are those of node n1 only to the promise that reads follow own writes, and whole sees everything.
func RunSelected(t *testing.T, c, whole kube.Cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	s, w := suite{ctx, c}, suite{ctx, whole}
	if err := s.Source(kube.Pods).Watch(ctx, func(kube.Event) {}); err != nil {
		t.Fatal(err)
	}
	pod := func(name, node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	}
	w.create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	mine := s.create(t, pod("mine", "n1")).(*corev1.Pod)
	if s.Source(kube.Pods).Get("default", "mine") == nil {
		t.Error("right after create: the node's own pod is not there")
	}
	mine.Status.Phase = corev1.PodRunning
	if _, err := s.UpdateStatus(ctx, mine); err != nil {
		t.Fatal(err)
	}
	if got, _ := kube.Get[*corev1.Pod](s.Cluster, kube.Pods, "default", "mine"); got == nil || got.Status.Phase != corev1.PodRunning {
		t.Errorf("right after the status: got %v, want it to run", got)
	}
	if got := names(s.Source(kube.Pods).By(kube.ByNode, "n1")); got != "[mine]" {
		t.Errorf("by node: got %s, want [mine]", got)
	}
	// A pod of another node is none of this view's: the write must not wait for what never comes.
	s.create(t, pod("theirs", "n2"))
	if s.Source(kube.Pods).Get("default", "theirs") != nil {
		t.Error("a pod of another node is in memory")
	}
	if ctx.Err() != nil {
		t.Fatal("out of time")
	}
	grace := int64(0)
	if err := s.Delete(ctx, kube.Pods, "default", "mine", metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		t.Fatal(err)
	}
	if got := s.Source(kube.Pods).Get("default", "mine"); got != nil && got.GetDeletionTimestamp() == nil {
		t.Error("right after delete: the pod is still there")
	}
}
