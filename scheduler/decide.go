package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Decision is where one pod goes, or why it goes nowhere.
type Decision struct {
	Node    string         // "" if no node fits
	Reasons map[string]int // why nodes were refused, and how many
	Nodes   int            // nodes that exist
	by      ruleSet        // the rules that refused them
}

// refused is a decision for nobody, and the change of the cluster up to which it holds.
type refused struct {
	decision Decision
	seen     uint64
	known    bool
}

// String is the message that users read in the pod's condition and event.
func (d Decision) String() string {
	if d.Node != "" {
		return d.Node
	}
	if d.Nodes == 0 {
		return "no nodes available to schedule pods"
	}
	var parts []string
	for reason, n := range d.Reasons {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", d.Nodes, strings.Join(parts, ", "))
}

// outline says what is worth telling again if it changes: how many nodes there are and why they refuse, but not how many refuse for what,
// which changes with every placement.
func (d Decision) outline() string {
	return fmt.Sprint(d.Nodes, slices.Sorted(maps.Keys(d.Reasons)))
}

// Decide chooses the node for a pod of the class: of all nodes that pass every rule, one with the highest score. Ties go round.
// Of the state it changes only what it remembers.
func (s *State) Decide(c *Class) Decision {
	if c.refused.known && c.refused.seen == s.journal.now {
		return c.refused.decision // nothing has happened since
	}
	best := -1
	switch {
	case c.only != nil:
		best = s.scan(c, s.columnsOf(c.only))
	case c.asked == 0:
		// Many classes have one pod only: nothing is kept before the second.
		best = s.scan(c, s.everyNode())
	default:
		best = c.look(s).best()
	}
	c.asked++
	if best < 0 {
		c.refused = refused{decision: s.refuse(c), seen: s.journal.now, known: true}
		return c.refused.decision
	}
	c.refused = refused{}
	return Decision{Nodes: s.present, Node: s.names[best]}
}

// scan returns the best of some nodes, or -1, and keeps nothing. Of equal ones it is the first in the order given.
func (s *State) scan(c *Class, nodes []int32) int {
	type found struct {
		node  int32
		score int64
		raw   [ruleCount]int64
	}
	var highest [ruleCount]int64
	var fitting []found
	for _, i := range nodes {
		if !s.fits(c, int(i)) {
			continue
		}
		f := found{i, s.score(c, int(i)), c.raw(s.nodes[i])}
		for k := range highest {
			highest[k] = max(highest[k], f.raw[k])
		}
		fitting = append(fitting, f)
	}
	best, most := -1, int64(-1)
	for k := range fitting {
		if sum := total(&fitting[k].raw, &highest) + fitting[k].score; sum > most {
			best, most = int(fitting[k].node), sum
		}
	}
	return best
}

// everyNode returns the columns of all nodes, from another one each time.
func (s *State) everyNode() []int32 {
	s.order = s.order[:0]
	for n := range s.names {
		s.order = append(s.order, int32((n+s.start)%len(s.names)))
	}
	if len(s.names) > 0 {
		s.start = (s.start + 1) % len(s.names)
	}
	return s.order
}

func (s *State) columnsOf(names []string) []int32 {
	s.order = s.order[:0]
	for _, name := range names {
		if i, ok := s.index[name]; ok {
			s.order = append(s.order, int32(i))
		}
	}
	return s.order
}

// Fits says whether any node would take a pod of the class now.
func (s *State) Fits(c *Class) bool {
	if c.only != nil {
		return s.fitsAny(c, s.columnsOf(c.only))
	}
	return c.look(s).best() >= 0
}

func (s *State) fitsAny(c *Class, nodes []int32) bool {
	return slices.ContainsFunc(nodes, func(i int32) bool { return s.fits(c, int(i)) })
}

// refuse says why every node was refused.
func (s *State) refuse(c *Class) Decision {
	d := Decision{Nodes: s.present, Reasons: map[string]int{}}
	report := func(reason string) { d.Reasons[reason]++ }
	for i, node := range s.nodes {
		if node == nil {
			continue
		}
		if c.only != nil && !slices.Contains(c.only, node.Name) {
			d.Reasons[otherNode]++
			continue
		}
		if k, reason := c.refusal(node); k >= 0 {
			d.Reasons[reason]++
			d.by = d.by.with(k)
			continue
		}
		if k := s.filtering(c, i, report); k >= 0 {
			d.by = d.by.with(k)
		}
	}
	return d
}
