package replicaset

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/kube"
)

// Plan is what one ReplicaSet needs done. It is a value: printing it explains the decision.
type Plan struct {
	Adopt   []*corev1.Pod // orphans that match the selector
	Release []*corev1.Pod // own pods that no longer match it
	Create  []int         // one pod each; the value is its number, or 0 where pods are not numbered
	Delete  []*corev1.Pod
	Status  appsv1.ReplicaSetStatus
	Again   time.Duration // when a ready pod becomes available; 0: nothing to wait for
}

// String lists the plan's actions, one word each.
func (p Plan) String() string {
	var out []string
	for _, pod := range p.Adopt {
		out = append(out, "adopt "+pod.Name)
	}
	for _, pod := range p.Release {
		out = append(out, "release "+pod.Name)
	}
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
	s := p.Status
	out = append(out, fmt.Sprintf("status %d replicas, %d ready, %d available", s.Replicas, s.ReadyReplicas, s.AvailableReplicas))
	return strings.Join(out, "; ")
}

// Decide compares a ReplicaSet with the pods of its namespace.
func Decide(rs *appsv1.ReplicaSet, pods []*corev1.Pod, now time.Time) Plan {
	var plan Plan
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil || selector.Empty() {
		return plan // validation refuses such a selector; matching everything would be worse than doing nothing
	}
	keep := rs.Spec.Template.Annotations[api.AnnotationKeepFinished] == "true"
	var own, active []*corev1.Pod
	terminating := int32(0)
	for _, pod := range pods {
		matches := selector.Matches(labels.Set(pod.Labels))
		switch owner := metav1.GetControllerOfNoCopy(pod); {
		case owner != nil && owner.UID == rs.UID && !matches:
			plan.Release = append(plan.Release, pod)
			continue
		case owner != nil && owner.UID == rs.UID:
			own = append(own, pod)
		case owner == nil && matches && pod.DeletionTimestamp == nil && rs.DeletionTimestamp == nil && !kube.PodFinished(pod):
			plan.Adopt = append(plan.Adopt, pod)
			own = append(own, pod)
		default:
			continue
		}
		switch {
		case pod.DeletionTimestamp != nil:
			terminating++
		case keep || !kube.PodFinished(pod):
			active = append(active, pod)
		}
	}
	if rs.DeletionTimestamp == nil {
		want := 1
		if rs.Spec.Replicas != nil {
			want = int(*rs.Spec.Replicas)
		}
		if missing := want - len(active); missing > 0 {
			plan.Create = numbers(rs, active, missing)
		} else if missing < 0 {
			plan.Delete = victims(rs, active, own, -missing)
		}
	}
	plan.Status, plan.Again = status(rs, active, terminating, now)
	return plan
}

// numbers chooses the numbers of new pods: the lowest that are free, so that they stay without gaps.
func numbers(rs *appsv1.ReplicaSet, active []*corev1.Pod, count int) []int {
	out := make([]int, count)
	if rs.Spec.Template.Annotations[api.AnnotationNumbered] != "true" {
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

func number(pod *corev1.Pod) int {
	n, _ := strconv.Atoi(pod.Labels[api.LabelNumber])
	return n
}

// victims chooses the pods to remove: those that lose least. Numbered pods go by number, highest first.
func victims(rs *appsv1.ReplicaSet, active, own []*corev1.Pod, count int) []*corev1.Pod {
	perNode := map[string]int{}
	for _, pod := range own {
		if !kube.PodFinished(pod) {
			perNode[pod.Spec.NodeName]++
		}
	}
	numbered := rs.Spec.Template.Annotations[api.AnnotationNumbered] == "true"
	sorted := slices.Clone(active)
	slices.SortStableFunc(sorted, func(a, b *corev1.Pod) int {
		if numbered {
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

// status counts what is there now, before the plan is carried out.
func status(rs *appsv1.ReplicaSet, active []*corev1.Pod, terminating int32, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	s := *rs.Status.DeepCopy()
	s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas = int32(len(active)), 0, 0, 0
	s.TerminatingReplicas = &terminating
	s.ObservedGeneration = rs.Generation
	template := labels.Set(rs.Spec.Template.Labels).AsSelectorPreValidated()
	minReady := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	var again time.Duration
	for _, pod := range active {
		if template.Matches(labels.Set(pod.Labels)) {
			s.FullyLabeledReplicas++
		}
		if !kube.PodReady(pod) {
			continue
		}
		s.ReadyReplicas++
		available, wait := kube.PodAvailable(pod, minReady, now)
		if available {
			s.AvailableReplicas++
		} else if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
	}
	return s, again
}
