package scheduler

import (
	corev1 "k8s.io/api/core/v1"
)

func refuseCordoned(c *Class, node *corev1.Node) string {
	taint := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if node.Spec.Unschedulable && !tolerates(c.spec.tolerations, &taint) {
		return "node(s) were unschedulable"
	}
	return ""
}

func refuseTaints(c *Class, node *corev1.Node) string {
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(c.spec.tolerations, t) {
			return "node(s) had untolerated taint(s)"
		}
	}
	return ""
}

func refuseLabels(c *Class, node *corev1.Node) string {
	if !c.selects {
		return ""
	}
	if ok, err := c.selector.Match(node); err != nil || !ok {
		return otherNode
	}
	return ""
}

// otherNode is why a node is refused that the pod did not ask for.
const otherNode = "node(s) didn't match Pod's node affinity/selector"

func portsFree(s *State, c *Class, node int, report func(string)) bool {
	for _, p := range c.spec.ports {
		if s.portTaken(node, p) {
			if report != nil {
				report("node(s) didn't have free ports for the requested pod ports")
			}
			return false
		}
	}
	return true
}

func (s *State) portTaken(node int, want hostPort) bool {
	for p := range s.ports[node] {
		if p.port == want.port && p.protocol == want.protocol && (p.ip == want.ip || p.ip == anyIP || want.ip == anyIP) {
			return true
		}
	}
	return false
}

func roomLeft(s *State, c *Class, node int, report func(string)) bool {
	fits := true
	if s.used[dimPods][node]+1 > s.allocatable[dimPods][node] {
		if report == nil {
			return false
		}
		fits = false
		report("Too many pods")
	}
	for _, r := range c.requests {
		if r.amount > s.allocatable[r.dim][node]-s.used[r.dim][node] {
			if report == nil {
				return false
			}
			fits = false
			report("Insufficient " + string(s.dimensions[r.dim]))
		}
	}
	return fits
}

func tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		t := &tolerations[i]
		if t.Effect != "" && t.Effect != taint.Effect {
			continue
		}
		if t.Key != "" && t.Key != taint.Key {
			continue
		}
		if t.Operator == corev1.TolerationOpExists || (t.Operator == "" || t.Operator == corev1.TolerationOpEqual) && t.Key != "" && t.Value == taint.Value {
			return true
		}
	}
	return false
}
