package owned

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/kube"
)

// Replicas is the wish of an owner for so many pods that are all alike.
type Replicas struct {
	Owner    metav1.Object
	Want     *int32 // nil: 1
	Template *corev1.PodTemplateSpec
	MinReady int32 // seconds that a pod must have been ready to count as available
}

// ReplicaPlan is what that wish needs done. It is a value: printing it explains the decision.
type ReplicaPlan struct {
	Create []int // one pod each; the value is its number, or 0 where pods are not numbered
	Delete []*corev1.Pod
	Counts Counts
	Again  time.Duration // when a ready pod becomes available; 0: nothing to wait for
}

// Counts are the owner's pods as they are now, before the plan is carried out.
type Counts struct{ Replicas, FullyLabeled, Ready, Available, Terminating int32 }

// String lists the plan's actions, one word each.
func (p ReplicaPlan) String() string {
	var out []string
	for _, n := range p.Create {
		if n > 0 {
			out = append(out, fmt.Sprintf("create #%d", n))
		} else {
			out = append(out, "create")
		}
	}
	for _, pod := range p.Delete {
		out = append(out, "delete "+pod.Name)
	}
	c := p.Counts
	out = append(out, fmt.Sprintf("%d replicas, %d ready, %d available", c.Replicas, c.Ready, c.Available))
	return strings.Join(out, "; ")
}

// Decide compares the wish with the owner's own pods.
func (r Replicas) Decide(own []*corev1.Pod, now time.Time) ReplicaPlan {
	var plan ReplicaPlan
	keep := r.Template.Annotations[api.AnnotationKeepFinished] == "true"
	var active []*corev1.Pod
	for _, pod := range own {
		switch {
		case pod.DeletionTimestamp != nil:
			plan.Counts.Terminating++
		case keep || !kube.PodFinished(pod):
			active = append(active, pod)
		}
	}
	if r.Owner.GetDeletionTimestamp() == nil {
		want := 1
		if r.Want != nil {
			want = int(*r.Want)
		}
		if missing := want - len(active); missing > 0 {
			plan.Create = r.numbers(active, missing)
		} else if missing < 0 {
			plan.Delete = r.victims(active, own, -missing)
		}
	}
	r.count(&plan, active, now)
	return plan
}

// Pods makes the pods that the plan creates.
func (r Replicas) Pods(kind schema.GroupVersionKind, plan ReplicaPlan) []*corev1.Pod {
	var out []*corev1.Pod
	for _, number := range plan.Create {
		pod := PodFor(r.Owner, kind, r.Template)
		if number > 0 {
			metav1.SetMetaDataLabel(&pod.ObjectMeta, api.LabelNumber, strconv.Itoa(number))
		}
		out = append(out, pod)
	}
	return out
}

// PodFor makes the pod that a template describes, named after its owner.
func PodFor(owner metav1.Object, kind schema.GroupVersionKind, template *corev1.PodTemplateSpec) *corev1.Pod {
	t := template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    owner.GetName() + "-",
			Namespace:       owner.GetNamespace(),
			Labels:          t.Labels,
			Annotations:     t.Annotations,
			Finalizers:      t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)},
		},
		Spec: t.Spec,
	}
}

// numbers chooses the numbers of new pods: the lowest that are free, so that they stay without gaps.
func (r Replicas) numbers(active []*corev1.Pod, count int) []int {
	out := make([]int, count)
	if !r.numbered() {
		return out
	}
	taken := map[int]bool{}
	for _, pod := range active {
		taken[number(pod)] = true
	}
	next := 1
	for i := range out {
		for taken[next] {
			next++
		}
		out[i] = next
		next++
	}
	return out
}

func (r Replicas) numbered() bool { return r.Template.Annotations[api.AnnotationNumbered] == "true" }

func number(pod *corev1.Pod) int {
	n, _ := strconv.Atoi(pod.Labels[api.LabelNumber])
	return n
}

// victims chooses the pods to remove: those that lose least. Numbered pods go by number, highest first.
func (r Replicas) victims(active, own []*corev1.Pod, count int) []*corev1.Pod {
	perNode := map[string]int{}
	for _, pod := range own {
		if !kube.PodFinished(pod) {
			perNode[pod.Spec.NodeName]++
		}
	}
	sorted := slices.Clone(active)
	slices.SortStableFunc(sorted, func(a, b *corev1.Pod) int {
		if r.numbered() {
			if c := cmp.Compare(number(b), number(a)); c != 0 {
				return c
			}
		}
		return cmpVictims(a, b, perNode)
	})
	return sorted[:min(count, len(sorted))]
}

// cmpVictims orders pods as upstream's replicaset controller does: unscheduled, pending, unready, cheap, crowded, youngest-ready,
// most restarted and youngest pods go first.
func cmpVictims(a, b *corev1.Pod, perNode map[string]int) int {
	first := func(x, y bool) int { // the one for which it is true goes first
		switch {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	}
	phase := map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}
	return cmp.Or(
		first(a.Spec.NodeName == "", b.Spec.NodeName == ""),
		cmp.Compare(phase[a.Status.Phase], phase[b.Status.Phase]),
		first(!kube.PodReady(a), !kube.PodReady(b)),
		cmp.Compare(cost(a), cost(b)),
		cmp.Compare(perNode[b.Spec.NodeName], perNode[a.Spec.NodeName]),
		readySince(b).Compare(readySince(a)),
		cmp.Compare(restarts(b), restarts(a)),
		b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
		cmp.Compare(a.Name, b.Name),
	)
}

func cost(pod *corev1.Pod) int {
	n, _ := strconv.Atoi(pod.Annotations[corev1.PodDeletionCost])
	return n
}

func readySince(pod *corev1.Pod) time.Time {
	if kube.PodReady(pod) {
		return kube.PodCondition(pod, corev1.PodReady).LastTransitionTime.Time
	}
	return time.Time{}
}

func restarts(pod *corev1.Pod) (n int32) {
	for _, c := range pod.Status.ContainerStatuses {
		n = max(n, c.RestartCount)
	}
	return n
}

// count fills in what is there, and when that changes by time alone.
func (r Replicas) count(plan *ReplicaPlan, active []*corev1.Pod, now time.Time) {
	c := &plan.Counts
	c.Replicas = int32(len(active))
	template := labels.Set(r.Template.Labels).AsSelectorPreValidated()
	minReady := time.Duration(r.MinReady) * time.Second
	for _, pod := range active {
		if template.Matches(labels.Set(pod.Labels)) {
			c.FullyLabeled++
		}
		if !kube.PodReady(pod) {
			continue
		}
		c.Ready++
		available, wait := kube.PodAvailable(pod, minReady, now)
		if available {
			c.Available++
		} else if wait > 0 && (plan.Again == 0 || wait < plan.Again) {
			plan.Again = wait
		}
	}
}
