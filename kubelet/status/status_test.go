package status_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/cuppa-project/cuppa/kubelet/status"
)

// TestPatch applies patches as the server does: what the node owns becomes exactly what it says, what others own stays.
func TestPatch(t *testing.T) {
	stamp := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	cond := func(kind corev1.PodConditionType, value corev1.ConditionStatus, reason string) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: value, Reason: reason, LastTransitionTime: stamp}
	}
	before := corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Status: corev1.PodStatus{
		Phase: corev1.PodPending, Message: "old", Reason: "Old", NominatedNodeName: "n9",
		PodIP: "10.1.0.1", PodIPs: []corev1.PodIP{{IP: "10.1.0.1"}}, HostIPs: []corev1.HostIP{{IP: "192.0.2.1"}},
		Conditions:        []corev1.PodCondition{cond("DisruptionTarget", corev1.ConditionTrue, "x"), cond(corev1.PodReady, corev1.ConditionFalse, "ContainersNotReady")},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "a", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}}},
	}}
	next := corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.1.0.2", PodIPs: []corev1.PodIP{{IP: "10.1.0.2"}}, HostIP: "192.0.2.1", HostIPs: []corev1.HostIP{{IP: "192.0.2.1"}},
		Conditions:        []corev1.PodCondition{cond(corev1.PodReady, corev1.ConditionTrue, ""), cond("DisruptionTarget", corev1.ConditionFalse, "stale copy")},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "a", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: stamp}}}},
	}
	patch, err := status.Patch("u", &next, []corev1.PodConditionType{corev1.PodReady})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := strategicpatch.StrategicMergePatch(raw, patch, corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	var after corev1.Pod
	if err := json.Unmarshal(merged, &after); err != nil {
		t.Fatal(err)
	}
	want := next
	want.NominatedNodeName = "n9"
	want.Conditions = []corev1.PodCondition{cond("DisruptionTarget", corev1.ConditionTrue, "x"), cond(corev1.PodReady, corev1.ConditionTrue, "")}
	byType := func(list []corev1.PodCondition) map[corev1.PodConditionType]corev1.PodCondition {
		out := map[corev1.PodConditionType]corev1.PodCondition{}
		for _, c := range list {
			c.LastTransitionTime = metav1.Time{}
			out[c.Type] = c
		}
		return out
	}
	if diff := cmp.Diff(byType(want.Conditions), byType(after.Status.Conditions)); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	want.Conditions, after.Status.Conditions = nil, nil
	if diff := cmp.Diff(want, after.Status); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
