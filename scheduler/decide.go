package scheduler

import (
	"fmt"
	"slices"
	"strings"
)

// Decision is where one pod goes, or why it goes nowhere.
type Decision struct {
	Node    string         // "" if no node fits
	Reasons map[string]int // why nodes were refused, and how many
	Nodes   int            // nodes looked at
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

// Decide chooses the node for a pod of the class: of all nodes that pass every filter, one with the highest score. Ties go round.
// It changes nothing but where the next search starts.
func (s *State) Decide(c *Class) Decision {
	d := Decision{Nodes: s.present, Reasons: map[string]int{}}
	feasible := s.feasible(c, d.Reasons)
	if len(feasible) == 0 {
		return d
	}
	best := feasible[0]
	if len(feasible) > 1 {
		best = s.best(c, feasible)
	}
	s.start = (best + 1) % len(s.names)
	d.Node = s.names[best]
	return d
}

// feasible lists the nodes that pass every filter, beginning after the last choice.
func (s *State) feasible(c *Class, reasons map[string]int) []int {
	var out []int
	report := func(reason string) { reasons[reason]++ }
	for k := range s.names {
		i := (s.start + k) % len(s.names)
		if reason := c.refused[i]; reason != "" {
			if reason != absent {
				report(reason)
			}
			continue
		}
		fits := true
		for _, f := range dynamicFilters {
			if fits = f.check(s, c, i, report); !fits {
				break
			}
		}
		if fits {
			out = append(out, i)
		}
	}
	return out
}

func (s *State) best(c *Class, feasible []int) int {
	totals := make([]int64, len(feasible))
	raw := make([]int64, len(feasible))
	for _, row := range scores {
		highest := int64(0)
		for k, node := range feasible {
			raw[k] = row.raw(s, c, node)
			highest = max(highest, raw[k])
		}
		for k := range feasible {
			if row.normalise != nil {
				raw[k] = row.normalise(raw[k], highest)
			}
			totals[k] += row.weight * raw[k]
		}
	}
	best := 0
	for k := range totals {
		if totals[k] > totals[best] {
			best = k
		}
	}
	return feasible[best]
}
