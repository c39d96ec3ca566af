package core

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestBinding(t *testing.T) {
	binding := func(change func(*corev1.Binding)) *corev1.Binding {
		b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
		if change != nil {
			change(b)
		}
		return b
	}
	now := metav1.Now()
	for name, c := range map[string]struct {
		pod     corev1.Pod
		binding *corev1.Binding
		want    string // a part of the error; empty: bound
		kind    error
	}{
		"bound":            {corev1.Pod{}, binding(nil), "", nil},
		"by the right uid": {corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}, binding(func(b *corev1.Binding) { b.UID = "u" }), "", nil},
		"by another uid":   {corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}, binding(func(b *corev1.Binding) { b.UID = "v" }), "UID in precondition: v", errkind.Conflict},
		"assigned":         {corev1.Pod{Spec: corev1.PodSpec{NodeName: "n2"}}, binding(nil), `is already assigned to node "n2"`, errkind.Conflict},
		"deleted":          {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}, binding(nil), "is being deleted, cannot be assigned to a host", errkind.Conflict},
		"gated":            {corev1.Pod{Spec: corev1.PodSpec{SchedulingGates: []corev1.PodSchedulingGate{{Name: "x"}}}}, binding(nil), "has non-empty .spec.schedulingGates", errkind.Conflict},
		"no target":        {corev1.Pod{}, binding(func(b *corev1.Binding) { b.Target.Name = "" }), "target.name: Required value", nil},
		"to a chair":       {corev1.Pod{}, binding(func(b *corev1.Binding) { b.Target.Kind = "Chair" }), `Unsupported value: "Chair"`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.pod.Name = "web"
			before := c.pod.DeepCopy()
			bound, err := bindPod(&c.pod, c.binding)
			if !meta.Same(*before, c.pod) {
				t.Error("the stored pod was changed")
			}
			if c.want == "" {
				pod := bound.(*corev1.Pod)
				if err != nil || pod.Spec.NodeName != "n1" || len(pod.Status.Conditions) != 1 || pod.Status.Conditions[0].Status != corev1.ConditionTrue {
					t.Errorf("bound %+v, %v", bound, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if c.kind != nil && !errors.Is(err, c.kind) || c.kind == nil && !apierrors.IsInvalid(err) {
				t.Errorf("kind of %v", err)
			}
		})
	}
}

func TestPodGrace(t *testing.T) {
	spec := corev1.PodSpec{NodeName: "n1", TerminationGracePeriodSeconds: ptr.To[int64](30)}
	for name, c := range map[string]struct {
		pod       corev1.Pod
		requested *int64
		want      int64
	}{
		"its own":        {corev1.Pod{Spec: spec}, nil, 30},
		"asked for":      {corev1.Pod{Spec: spec}, ptr.To[int64](5), 5},
		"at once":        {corev1.Pod{Spec: spec}, ptr.To[int64](0), 0},
		"negative":       {corev1.Pod{Spec: spec}, ptr.To[int64](-3), 1},
		"never assigned": {corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: ptr.To[int64](30)}}, ptr.To[int64](9), 0},
		"finished":       {corev1.Pod{Spec: spec, Status: corev1.PodStatus{Phase: corev1.PodFailed}}, nil, 0},
		"shortened":      {corev1.Pod{Spec: spec, ObjectMeta: metav1.ObjectMeta{DeletionGracePeriodSeconds: ptr.To[int64](20)}}, ptr.To[int64](5), 5},
		"not lengthened": {corev1.Pod{Spec: spec, ObjectMeta: metav1.ObjectMeta{DeletionGracePeriodSeconds: ptr.To[int64](20)}}, ptr.To[int64](60), 20},
	} {
		if got := podGrace(&c.pod, c.requested); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestWarningsOfUpdates holds that an update warns of a specification that it changes, and says nothing of one that was there before.
func TestWarningsOfUpdates(t *testing.T) {
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 3}, Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "c", Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}}}}}}
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		want   int
	}{
		"a label":           {func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }, 0},
		"the specification": {func(p *corev1.Pod) { p.Spec.Containers[0].Image = "b" }, 1},
	} {
		pod := old.DeepCopy()
		c.change(pod)
		preparePodUpdate(pod, old)
		if got := podWarnings(pod, old); len(got) != c.want {
			t.Errorf("a change of %s gives the warnings %q, want %d", name, got, c.want)
		}
	}
	if got := podWarnings(old, nil); len(got) == 0 {
		t.Error("a new pod gives no warning")
	}
}
