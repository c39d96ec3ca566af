package nodelifecycle

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kube"
)

// grace is how long a node may stay silent before it counts as lost: upstream's node-monitor-grace-period.
const grace = 50 * time.Second

// Plan is what one node and its pods need.
type Plan struct {
	Conditions []corev1.NodeCondition // to set to Unknown; nil: leave as they are
	Taints     []corev1.Taint         // the node's wanted taints
	Retaint    bool                   // Taints differ from what the node has
	Unready    []*corev1.Pod          // pods whose Ready condition is set to false
	Evict      []*corev1.Pod          // pods whose toleration of the taints has ended
	Again      time.Duration
}

// String lists the plan's actions.
func (p Plan) String() string {
	var out []string
	for _, c := range p.Conditions {
		out = append(out, string(c.Type)+" unknown")
	}
	if p.Retaint {
		for _, t := range p.Taints {
			out = append(out, "taint "+t.Key+":"+string(t.Effect))
		}
	}
	for _, pod := range p.Unready {
		out = append(out, "unready "+pod.Name)
	}
	for _, pod := range p.Evict {
		out = append(out, "evict "+pod.Name)
	}
	return strings.Join(out, "; ")
}

// Decide judges one node. heard is when its last sign of life was first seen here, by this process's own clock: a
// control plane that was away for a while must not blame its nodes for that.
func Decide(node *corev1.Node, pods []*corev1.Pod, heard, now time.Time) Plan {
	var plan Plan
	ready := corev1.ConditionUnknown
	silent := now.Sub(heard)
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			ready = c.Status
		}
	}
	if silent >= grace {
		plan.Conditions = lost(node, now)
		ready = corev1.ConditionUnknown
	} else {
		plan.Again = grace - silent
	}
	plan.Taints = taints(node, ready, now)
	plan.Retaint = !sameTaints(plan.Taints, node.Spec.Taints)
	if ready != corev1.ConditionTrue {
		for _, pod := range pods {
			if kube.PodReady(pod) && !kube.PodFinished(pod) {
				plan.Unready = append(plan.Unready, pod)
			}
		}
	}
	for _, pod := range pods {
		left, evict := tolerated(pod, plan.Taints, now)
		if !evict || pod.DeletionTimestamp != nil {
			continue
		}
		if left <= 0 {
			plan.Evict = append(plan.Evict, pod)
		} else if plan.Again == 0 || left < plan.Again {
			plan.Again = left
		}
	}
	return plan
}

// lost are the conditions that a silent node is given.
func lost(node *corev1.Node, now time.Time) []corev1.NodeCondition {
	var out []corev1.NodeCondition
	for _, t := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		i := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == t })
		if i >= 0 && node.Status.Conditions[i].Status == corev1.ConditionUnknown {
			continue
		}
		c := corev1.NodeCondition{Type: t, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated",
			Message: "Kubelet never posted node status.", LastTransitionTime: metav1.NewTime(now), LastHeartbeatTime: metav1.NewTime(now)}
		if i >= 0 {
			c.Reason, c.Message = "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastHeartbeatTime = node.Status.Conditions[i].LastHeartbeatTime
		}
		out = append(out, c)
	}
	return out
}

// owned are the taints that this controller sets and removes.
var owned = []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeUnschedulable,
	corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure}

// taints are the node's own taints plus those that follow from its state. Those already there keep the time they were added.
func taints(node *corev1.Node, ready corev1.ConditionStatus, now time.Time) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range node.Spec.Taints {
		if !slices.Contains(owned, t.Key) {
			out = append(out, t)
		}
	}
	add := func(key string, effect corev1.TaintEffect) {
		for _, t := range node.Spec.Taints {
			if t.Key == key && t.Effect == effect {
				out = append(out, t)
				return
			}
		}
		t := corev1.Taint{Key: key, Effect: effect}
		if effect == corev1.TaintEffectNoExecute {
			t.TimeAdded = &metav1.Time{Time: now}
		}
		out = append(out, t)
	}
	switch ready {
	case corev1.ConditionFalse:
		add(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule)
		add(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	case corev1.ConditionUnknown:
		add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule)
		add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
	}
	if node.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	pressure := map[corev1.NodeConditionType]string{corev1.NodeMemoryPressure: corev1.TaintNodeMemoryPressure,
		corev1.NodeDiskPressure: corev1.TaintNodeDiskPressure, corev1.NodePIDPressure: corev1.TaintNodePIDPressure}
	for _, c := range node.Status.Conditions {
		if key, ok := pressure[c.Type]; ok && c.Status == corev1.ConditionTrue {
			add(key, corev1.TaintEffectNoSchedule)
		}
	}
	return out
}

func sameTaints(a, b []corev1.Taint) bool {
	key := func(t corev1.Taint) string { return fmt.Sprintf("%s=%s:%s", t.Key, t.Value, t.Effect) }
	seen := map[string]int{}
	for _, t := range a {
		seen[key(t)]++
	}
	for _, t := range b {
		seen[key(t)]--
	}
	for _, n := range seen {
		if n != 0 {
			return false
		}
	}
	return true
}

// tolerated says whether the NoExecute taints will evict the pod, and in how long.
func tolerated(pod *corev1.Pod, taints []corev1.Taint, now time.Time) (left time.Duration, evict bool) {
	for _, t := range taints {
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		seconds, found := shortest(pod.Spec.Tolerations, &t)
		switch {
		case !found:
			return 0, true
		case seconds == nil:
			continue
		}
		added := now
		if t.TimeAdded != nil {
			added = t.TimeAdded.Time
		}
		until := added.Add(time.Duration(*seconds) * time.Second).Sub(now)
		if !evict || until < left {
			left, evict = until, true
		}
	}
	return left, evict
}

// shortest finds the pod's tolerations of a taint and the least time any of them grants; nil: for ever.
func shortest(tolerations []corev1.Toleration, taint *corev1.Taint) (seconds *int64, found bool) {
	for _, t := range tolerations {
		matches := (t.Effect == "" || t.Effect == taint.Effect) && (t.Key == "" && t.Operator == corev1.TolerationOpExists || t.Key == taint.Key &&
			(t.Operator == corev1.TolerationOpExists || t.Value == taint.Value))
		if !matches {
			continue
		}
		if t.TolerationSeconds != nil && (seconds == nil || *t.TolerationSeconds < *seconds) {
			seconds = t.TolerationSeconds
		}
		found = true
	}
	return seconds, found
}
