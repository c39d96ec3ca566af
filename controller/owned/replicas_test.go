package owned

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/api"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

func owner() *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "rs"}}
}

func set(replicas int32, annotations map[string]string) Replicas {
	return Replicas{Owner: owner(), Want: &replicas,
		Template: &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}, Annotations: annotations}}}
}

// pod makes a pod of the set that has been ready for a minute; changes follow.
func pod(name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"},
			CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(owner(), kind)}},
		Spec: corev1.PodSpec{NodeName: "n"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Minute))}}},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func phase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = phase
		if phase != corev1.PodRunning {
			p.Status.Conditions = nil
		}
	}
}

func unready(p *corev1.Pod) { p.Status.Conditions = nil }
func waiting(p *corev1.Pod) { p.Spec.NodeName = ""; phase(corev1.PodPending)(p) }
func deleted(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now} }
func orphan(p *corev1.Pod)  { p.OwnerReferences = nil }
func strange(p *corev1.Pod) { p.Labels["app"] = "other" }
func numberOf(n int) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[api.LabelNumber] = fmt.Sprint(n) }
}

func TestReplicas(t *testing.T) {
	numbered := map[string]string{api.AnnotationNumbered: "true"}
	keep := map[string]string{api.AnnotationKeepFinished: "true"}
	for _, c := range []struct {
		name string
		rs   Replicas
		pods []*corev1.Pod
		want string
	}{
		{"nothing there", set(2, nil), nil, "create; create; 0 replicas, 0 ready, 0 available"},
		{"as wanted", set(1, nil), []*corev1.Pod{pod("a")}, "1 replicas, 1 ready, 1 available"},
		{"finished pods are replaced", set(1, nil), []*corev1.Pod{pod("a", phase(corev1.PodFailed))}, "create; 0 replicas, 0 ready, 0 available"},
		{"finished pods are kept when asked", set(1, keep), []*corev1.Pod{pod("a", phase(corev1.PodSucceeded))}, "1 replicas, 0 ready, 0 available"},
		{"pods on their way out are replaced", set(1, nil), []*corev1.Pod{pod("a", deleted)}, "create; 0 replicas, 0 ready, 0 available"},
		{"unscheduled goes first, then unready", set(1, nil), []*corev1.Pod{pod("a"), pod("b", unready), pod("c", waiting)},
			"delete c; delete b; 3 replicas, 1 ready, 1 available"},
		{"cheap pods go first", set(1, nil), []*corev1.Pod{pod("a"), pod("b", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-1"} })},
			"delete b; 2 replicas, 2 ready, 2 available"},
		{"numbers fill the gaps", set(4, numbered), []*corev1.Pod{pod("a", numberOf(1)), pod("c", numberOf(3))}, "create #2; create #4; 2 replicas, 2 ready, 2 available"},
		{"the highest numbers go first", set(1, numbered), []*corev1.Pod{pod("b", numberOf(2)), pod("j", numberOf(10)), pod("a", numberOf(1))},
			"delete j; delete b; 3 replicas, 3 ready, 3 available"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.rs.Decide(c.pods, now).String(); got != c.want {
				t.Errorf("got:  %s\nwant: %s", got, c.want)
			}
		})
	}
}

func TestMinReady(t *testing.T) {
	rs := set(1, nil)
	rs.MinReady = 90
	plan := rs.Decide([]*corev1.Pod{pod("a")}, now)
	if plan.Counts.Available != 0 || plan.Again != 30*time.Second {
		t.Errorf("ready for 60 s of 90: got %d available, again in %s; want 0 and 30s", plan.Counts.Available, plan.Again)
	}
	plan = rs.Decide([]*corev1.Pod{pod("a")}, now.Add(30*time.Second))
	if plan.Counts.Available != 1 || plan.Again != 0 {
		t.Errorf("ready for 90 s: got %d available, again in %s; want 1 and 0", plan.Counts.Available, plan.Again)
	}
}
