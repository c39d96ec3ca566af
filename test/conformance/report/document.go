package report

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Runs says which runs a document comes from, one line each.
type Runs struct {
	Whole string // the last run of the whole suite
	Part  string // the last run of a part of it since then; "": none
}

const (
	wholePrefix = "Last whole run: "
	partPrefix  = "Last run of a part since: "
)

const intro = `# Conformance

What Kubernetes' own conformance suite says of Cuppa. This file is written by ` + "`make conformance`" + `; changes by hand are lost. How to run
it, and how a reason that reads better than the suite's own words is kept, is in [CONTRIBUTING.md](../CONTRIBUTING.md).

A failed case has its reason below it: in our words where the cause is known, else in the suite's (as code). *wanting* are those of the
failed ones that need what the machine of the run lacked (a feature of the kernel, a second node): they are not counted as passed.
`

// Document writes the whole document.
func Document(runs Runs, cases []Case) string {
	var out strings.Builder
	out.WriteString(intro)
	if runs.Whole != "" {
		fmt.Fprintf(&out, "\n%s%s\n", wholePrefix, runs.Whole)
	}
	if runs.Part != "" {
		fmt.Fprintf(&out, "\n%s%s\n", partPrefix, runs.Part)
	}
	out.WriteString("\n| area | cases | passed | failed | of these wanting | not run |\n|---|---|---|---|---|---|\n")
	for _, n := range Counts(cases) {
		fmt.Fprintf(&out, "| %s | %d | %d | %d | %d | %d |\n", n.Area, n.Cases, n.Passed, n.Failed, n.Wanting, n.NotRun)
	}
	where := ""
	for _, c := range cases {
		if c.Area != where {
			where = c.Area
			fmt.Fprintf(&out, "\n## %s\n\n", where)
		}
		fmt.Fprintf(&out, "- %s: %s\n", c.State, c.Name)
		if c.Why != "" {
			fmt.Fprintf(&out, "  %s\n", c.Why)
		}
	}
	return out.String()
}

var entry = regexp.MustCompile(`^- (passed|failed|not run): (.+)$`)

// Parse reads a document back.
func Parse(document string) (Runs, []Case, error) {
	var runs Runs
	var cases []Case
	where, n := "", 0
	for line := range strings.Lines(document) {
		line = strings.TrimSuffix(line, "\n")
		n++
		switch m := entry.FindStringSubmatch(line); {
		case m != nil && where == "":
			return runs, nil, errkind.New(errkind.Invalid, "line %d: a case outside of an area: it must follow a heading like '## sig-node'", n)
		case m != nil:
			cases = append(cases, Case{Area: where, Name: m[2], State: State(m[1])})
		case strings.HasPrefix(line, "## "):
			where = strings.TrimPrefix(line, "## ")
		case strings.HasPrefix(line, wholePrefix):
			runs.Whole = strings.TrimPrefix(line, wholePrefix)
		case strings.HasPrefix(line, partPrefix):
			runs.Part = strings.TrimPrefix(line, partPrefix)
		case strings.HasPrefix(line, "  ") && len(cases) > 0:
			cases[len(cases)-1].Why = strings.TrimSpace(line)
		case where != "" && line != "":
			return runs, nil, errkind.New(errkind.Invalid, "line %d: %q is neither a case, nor a reason, nor an area", n, line)
		}
	}
	return runs, cases, nil
}
