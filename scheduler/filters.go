package scheduler

import (
	corev1 "k8s.io/api/core/v1"
)

// absent marks a column without a node; it is no reason a user is shown.
const absent = "node is gone"

// staticFilter looks only at the pod's class and the node's own properties.
type staticFilter struct {
	name  string
	check func(c *Class, node *corev1.Node) (reason string)
}

// The static filters, in the order in which upstream's default profile runs them. The first that refuses names the reason.
var staticFilters = []staticFilter{
	{"NodeUnschedulable", func(c *Class, node *corev1.Node) string {
		taint := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
		if node.Spec.Unschedulable && !tolerates(c.spec.Tolerations, &taint) {
			return "node(s) were unschedulable"
		}
		return ""
	}},
	{"TaintToleration", func(c *Class, node *corev1.Node) string {
		for i := range node.Spec.Taints {
			t := &node.Spec.Taints[i]
			if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(c.spec.Tolerations, t) {
				return "node(s) had untolerated taint(s)"
			}
		}
		return ""
	}},
	{"NodeAffinity", func(c *Class, node *corev1.Node) string {
		if ok, err := c.selector.Match(node); err != nil || !ok {
			return "node(s) didn't match Pod's node affinity/selector"
		}
		return ""
	}},
}

// dynamicFilter looks at what is placed on a node now. It reports every reason it finds, if somebody asks.
type dynamicFilter struct {
	name  string
	check func(s *State, c *Class, node int, report func(reason string)) bool
}

// The dynamic filters, in upstream's order.
var dynamicFilters = []dynamicFilter{
	{"NodePorts", func(s *State, c *Class, node int, report func(string)) bool {
		for _, p := range c.ports {
			if s.portTaken(node, p) {
				if report != nil {
					report("node(s) didn't have free ports for the requested pod ports")
				}
				return false
			}
		}
		return true
	}},
	{"NodeResourcesFit", func(s *State, c *Class, node int, report func(string)) bool {
		fits := true
		if s.used[dimPods][node]+1 > s.allocatable[dimPods][node] {
			fits = false
			if report != nil {
				report("Too many pods")
			}
		}
		for _, r := range c.requests {
			if r.amount > s.allocatable[r.dim][node]-s.used[r.dim][node] {
				fits = false
				if report != nil {
					report("Insufficient " + string(s.dimensions[r.dim]))
				}
			}
		}
		return fits
	}},
}

// passes runs the dynamic filters on one node.
func (s *State) passes(c *Class, node int, report func(reason string)) bool {
	for _, f := range dynamicFilters {
		if !f.check(s, c, node, report) {
			return false
		}
	}
	return true
}

func (s *State) portTaken(node int, want hostPort) bool {
	for p := range s.ports[node] {
		if p.port == want.port && p.protocol == want.protocol && (p.ip == want.ip || p.ip == "0.0.0.0" || want.ip == "0.0.0.0") {
			return true
		}
	}
	return false
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
