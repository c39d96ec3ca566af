// Package report turns what a run of the conformance suite found into docs/CONFORMANCE.md, and reads that document back.
//
// It is pure: bytes in, bytes out; it runs nothing and knows no node. Start with Case, then Read (a run's report), Merge (what is
// known before and after a run) and Document. Causes is the hand-kept table of reasons.
package report

import (
	"cmp"
	"slices"
	"strings"
)

// State is what is known of a case.
type State string

// The states, as the document spells them.
const (
	Passed State = "passed"
	Failed State = "failed"
	NotRun State = "not run"
)

// Case is one test of the suite.
type Case struct {
	Area  string // the group of upstream's people that keeps it: sig-node
	Name  string // the text of the test, without the area and without tags that all of them have
	State State
	Why   string // one line, if it did not pass; "" if nothing is known
}

// The reasons that lie not in the program but in what it ran on begin with one of these. Such cases count as failed all the same.
const (
	MachineLacks = "this machine: "
	NodesLack    = "wants more nodes: "
)

func key(c Case) string { return c.Area + "\x00" + c.Name }

func compare(a, b Case) int {
	return cmp.Or(cmp.Compare(a.Area, b.Area), cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.Name, b.Name))
}

// Merge is what is known after a run that found ran, given what was known before it. The suite's own list of cases, which every run
// has, is the one that counts: a case that it no longer has is forgotten. A whole run replaces everything; a part of a run says nothing
// about cases that it did not reach.
func Merge(before, ran []Case, whole bool) []Case {
	known := map[string]Case{}
	if !whole {
		for _, c := range before {
			known[key(c)] = c
		}
	}
	out := make([]Case, 0, len(ran))
	for _, c := range ran {
		if old, ok := known[key(c)]; ok && c.State == NotRun && c.Why == "" {
			c = old
		}
		out = append(out, c)
	}
	slices.SortFunc(out, compare)
	return out
}

// Count is how many cases of an area are in which state.
type Count struct {
	Area                          string
	Cases, Passed, Failed, NotRun int
	Wanting                       int // of the failed ones: those that this machine, or its number of nodes, could not run
}

// Counts sums the cases by area, and all of them in a last row.
func Counts(cases []Case) []Count {
	all := Count{Area: "all"}
	byArea := map[string]*Count{}
	for _, c := range cases {
		if byArea[c.Area] == nil {
			byArea[c.Area] = &Count{Area: c.Area}
		}
		for _, n := range []*Count{byArea[c.Area], &all} {
			n.add(c)
		}
	}
	var out []Count
	for _, n := range byArea {
		out = append(out, *n)
	}
	slices.SortFunc(out, func(a, b Count) int { return cmp.Compare(a.Area, b.Area) })
	return append(out, all)
}

func (n *Count) add(c Case) {
	n.Cases++
	switch c.State {
	case Passed:
		n.Passed++
	case Failed:
		n.Failed++
		if strings.HasPrefix(c.Why, MachineLacks) || strings.HasPrefix(c.Why, NodesLack) {
			n.Wanting++
		}
	case NotRun:
		n.NotRun++
	}
}
