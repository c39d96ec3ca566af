package scheduler

import (
	corev1 "k8s.io/api/core/v1"
)

// rule is one consideration: which nodes it refuses, how it ranks those that are left, and what can help a pod that it refused. What a
// rule has no say in stays nil. What depends on a class and a node's own properties is asked once and kept; only what depends on the
// pods that are placed is asked again when they change.
type rule struct {
	name string

	// refuse looks at the class and the node's own properties. It returns why the node will not do, or "".
	refuse func(c *Class, node *corev1.Node) (reason string)
	// filter looks at what is placed on the node now. It reports every reason that it finds, if somebody asks.
	filter func(s *State, c *Class, node int, report func(reason string)) bool
	// helped names the changes that can make a node fit that the rule refused.
	helped change

	// prefer is a raw score from the class and the node's own properties, and spread puts it into 0..100, given the highest one
	// among the nodes that fit.
	prefer func(c *Class, node *corev1.Node) int64
	spread func(raw, highest int64) int64
	// score looks at what is placed on the node now. It is in 0..100 already.
	score  func(s *State, c *Class, node int) int64
	weight int64 // of prefer or score
}

// change is a set of things that happen to a node.
type change uint8

const (
	nodeChanged change = 1 << iota // it is new, or what the rules see of it has changed
	podLeft                        // a pod that was placed on it has gone
	nodeGone
)

const ruleCount = 6

// rules are those of upstream's default profile that this scheduler has, in upstream's order and with upstream's weights. The first one that
// refuses a node names the reason. All divisions truncate, as upstream's do.
var rules = [ruleCount]rule{
	{name: "NodeUnschedulable", refuse: refuseCordoned, helped: nodeChanged},
	{name: "TaintToleration", refuse: refuseTaints, helped: nodeChanged, prefer: countTaints, spread: fewer, weight: 3},
	{name: "NodeAffinity", refuse: refuseLabels, helped: nodeChanged, prefer: preferLabels, spread: more, weight: 2},
	{name: "NodePorts", filter: portsFree, helped: nodeChanged | podLeft},
	{name: "NodeResourcesFit", filter: roomLeft, helped: nodeChanged | podLeft, score: leastAllocated, weight: 1},
	{name: "NodeResourcesBalancedAllocation", score: balanced, weight: 1},
}

// ruleSet is a set of rules, by their place in the table.
type ruleSet uint32

func (set ruleSet) with(k int) ruleSet { return set | 1<<k }

const allRules ruleSet = 1<<ruleCount - 1

// helped is what can help a pod that any of these rules refused. A pod that no rule refused, as there was no node, is helped by anything.
func (set ruleSet) helped() (out change) {
	for k := range rules {
		if set&(1<<k) != 0 {
			out |= rules[k].helped
		}
	}
	if set == 0 {
		out = nodeChanged | podLeft
	}
	return out
}

const maxScore = 100

// levels is how many different sums the scores of placed pods can have.
func levels() int {
	n := int64(1)
	for k := range rules {
		if rules[k].score != nil {
			n += rules[k].weight * maxScore
		}
	}
	return int(n)
}

// refusal returns the first rule that refuses the node for what it is, and why; -1 if none does.
func (c *Class) refusal(node *corev1.Node) (k int, reason string) {
	for k := range rules {
		if rules[k].refuse == nil {
			continue
		}
		if reason := rules[k].refuse(c, node); reason != "" {
			return k, reason
		}
	}
	return -1, ""
}

// raw returns the raw scores of a node for what it is, by rule.
func (c *Class) raw(node *corev1.Node) (out [ruleCount]int64) {
	for k := range rules {
		if rules[k].prefer != nil {
			out[k] = rules[k].prefer(c, node)
		}
	}
	return out
}

// total is what raw scores amount to, given the highest ones among the nodes that fit.
func total(raw, highest *[ruleCount]int64) (sum int64) {
	for k := range rules {
		if rules[k].prefer != nil {
			sum += rules[k].weight * rules[k].spread(raw[k], highest[k])
		}
	}
	return sum
}

// passes says whether what is placed on the node leaves room for the class.
func (s *State) passes(c *Class, node int) bool { return s.filtering(c, node, nil) < 0 }

// filtering returns the first rule that refuses the node for what is placed on it; -1 if none does.
func (s *State) filtering(c *Class, node int, report func(reason string)) int {
	for k := range rules {
		if rules[k].filter != nil && !rules[k].filter(s, c, node, report) {
			return k
		}
	}
	return -1
}

// score is what the class is worth on the node, going by what is placed there.
func (s *State) score(c *Class, node int) (sum int64) {
	for k := range rules {
		if rules[k].score != nil {
			sum += rules[k].weight * rules[k].score(s, c, node)
		}
	}
	return sum
}

// refusing returns the first rule that refuses the node now; -1 if none does, ruleCount if there is no such node.
func (s *State) refusing(c *Class, node int) int {
	if s.nodes[node] == nil {
		return ruleCount
	}
	if k, _ := c.refusal(s.nodes[node]); k >= 0 {
		return k
	}
	return s.filtering(c, node, nil)
}

// fits says whether a node would take a pod of the class now.
func (s *State) fits(c *Class, node int) bool { return s.refusing(c, node) < 0 }
