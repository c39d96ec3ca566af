package apiserver_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
)

// TestNodeReadsWhatItsPodsNeed: a node reads a Secret, one by one, from when a pod that refers to it is bound to it until that pod has gone.
func TestNodeReadsWhatItsPodsNeed(t *testing.T) {
	s := apiservertest.New(t)
	client := func(name, group string) *kubernetes.Clientset {
		c, err := kubernetes.NewForConfig(s.Client(t, name, group))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ctx, admin, n1, n2 := t.Context(), client("admin", "system:masters"), client("system:node:n1", "system:nodes"), client("system:node:n2", "system:nodes")
	for _, name := range []string{"key", "other"} {
		if _, err := admin.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	may := func(when string, c *kubernetes.Clientset, name string, want bool) {
		t.Helper()
		none := "no relationship found between node"
		if want {
			none = ""
		}
		secrets := c.CoreV1().Secrets("default")
		_, err := secrets.Get(ctx, name, metav1.GetOptions{})
		refused(t, when+": get "+name, err, none)
		list, err := secrets.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		refused(t, when+": list "+name, err, none)
		if want && len(list.Items) != 1 {
			t.Errorf("%s: listed %d of name %s", when, len(list.Items), name)
		}
		w, err := secrets.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		refused(t, when+": watch "+name, err, none)
		if err == nil {
			w.Stop()
		}
		_, err = secrets.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name!=" + name})
		refused(t, when+": list all but "+name, err, "No Object name found")
	}
	may("before", n1, "key", false)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "i", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "key"}}}}}}}}
	if _, err := admin.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	may("before the pod is bound", n1, "key", false)
	if err := admin.CoreV1().Pods("default").Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Whoever may see the pod has been told of it by the same memory.
	if _, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}); err != nil {
		t.Fatal(err)
	}
	may("bound", n1, "key", true)
	may("bound", n1, "other", false)
	may("bound to another", n2, "key", false)
	_, err := n2.CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{})
	refused(t, "another's pod", err, "no relationship found between node")
	_, err = n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	refused(t, "all pods", err, "can only list/watch pods with spec.nodeName field selector")
	if err := admin.CoreV1().Pods("default").Delete(ctx, "web", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	if _, err := n1.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}); err != nil {
		t.Fatal(err)
	}
	may("after", n1, "key", false)
}
