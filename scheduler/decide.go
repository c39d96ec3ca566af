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
// Of the state it changes only what it remembers.
func (s *State) Decide(c *Class) Decision {
	c.look(s)
	best := s.best(c)
	if best < 0 {
		return Decision{Nodes: s.present, Reasons: s.reasons(c)}
	}
	s.start = (best + 1) % len(s.names)
	return Decision{Nodes: s.present, Node: s.names[best]}
}

// best returns the node with the highest total, the first one from where the last search ended; -1 if none fits.
func (s *State) best(c *Class) int {
	var highest [staticCount]int64
	for i, fits := range c.fits {
		if !fits {
			continue
		}
		for k := range highest {
			highest[k] = max(highest[k], c.static[k][i])
		}
	}
	best, most := -1, int64(-1)
	for n := range c.fits {
		i := n + s.start
		if i >= len(c.fits) {
			i -= len(c.fits)
		}
		if !c.fits[i] {
			continue
		}
		total := c.dynamic[i]
		for k := range staticScores {
			total += staticScores[k].weight * staticScores[k].normalise(c.static[k][i], highest[k])
		}
		if total > most {
			best, most = i, total
		}
	}
	return best
}

// reasons counts why each node was refused.
func (s *State) reasons(c *Class) map[string]int {
	out := map[string]int{}
	for i, node := range s.nodes {
		switch {
		case node == nil:
		case c.refused[i] != "":
			out[c.refused[i]]++
		default:
			s.passes(c, i, func(reason string) { out[reason]++ })
		}
	}
	return out
}
