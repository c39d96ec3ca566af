package nodelifecycle

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func node(ready corev1.ConditionStatus, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{Taints: taints},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
}

func pod(seconds *int64) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{Phase: corev1.PodRunning,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds})
	}
	return p
}

func TestDecide(t *testing.T) {
	unreachable := func(since time.Duration) []corev1.Taint {
		return []corev1.Taint{{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule},
			{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &metav1.Time{Time: now.Add(-since)}}}
	}
	for _, c := range []struct {
		name   string
		node   *corev1.Node
		pod    *corev1.Pod
		silent time.Duration
		want   string
	}{
		{"healthy", node(corev1.ConditionTrue), pod(ptr.To[int64](300)), time.Second, ""},
		{"silent, but not for long", node(corev1.ConditionTrue), pod(nil), 49 * time.Second, ""},
		{"lost", node(corev1.ConditionTrue), pod(ptr.To[int64](300)), 51 * time.Second,
			"Ready unknown; MemoryPressure unknown; DiskPressure unknown; PIDPressure unknown; taint node.kubernetes.io/unreachable:NoSchedule; taint node.kubernetes.io/unreachable:NoExecute; unready p"},
		{"says it is not ready", node(corev1.ConditionFalse), pod(ptr.To[int64](300)), 0,
			"taint node.kubernetes.io/not-ready:NoSchedule; taint node.kubernetes.io/not-ready:NoExecute; unready p"},
		{"tolerated long enough", node(corev1.ConditionUnknown, unreachable(301*time.Second)...), pod(ptr.To[int64](300)), 0, "unready p; evict p"},
		{"tolerated for ever", node(corev1.ConditionUnknown, unreachable(time.Hour)...), pod(nil), 0, "unready p"},
		{"back again", node(corev1.ConditionTrue, unreachable(time.Minute)...), pod(ptr.To[int64](300)), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := Decide(c.node, []*corev1.Pod{c.pod}, now.Add(-c.silent), now)
			if got := plan.String(); got != c.want {
				t.Errorf("got:  %s\nwant: %s", got, c.want)
			}
			if c.name == "back again" && (!plan.Retaint || len(plan.Taints) != 0) {
				t.Errorf("taints of a node that is back: got %v (retaint %v), want none", plan.Taints, plan.Retaint)
			}
		})
	}
}
