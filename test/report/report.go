package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
)

// event is one line of go test -json.
type event struct {
	Action, Package, Test, Output, ImportPath string
}

// report takes the events of one or more runs in.
type report struct {
	out      io.Writer
	packages map[string]*results
	skipped  map[string][]string // tests by the reason why they were skipped
	count    map[string]int      // tests by how they ended
}

// results are a package's, until it is over.
type results struct {
	own   []string // what the package said outside of its tests
	tests map[string]*outcome
	order []string
}

// outcome is a test's.
type outcome struct {
	action string // pass, skip or fail; "" while it runs
	output []string
}

func newReport(out io.Writer) *report {
	return &report{out: out, packages: map[string]*results{}, skipped: map[string][]string{}, count: map[string]int{}}
}

// read takes a run's events in until it ends. Lines that are no events are printed as they are.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) line(line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
		io.WriteString(r.out, line)
		return
	}
	if e.Package == "" { // what the compiler says
		io.WriteString(r.out, e.Output)
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &results{tests: map[string]*outcome{}}
		r.packages[e.Package] = p
	}
	if e.Test == "" {
		r.ofPackage(p, e)
		return
	}
	t := p.tests[e.Test]
	if t == nil {
		t = &outcome{}
		p.tests[e.Test] = t
		p.order = append(p.order, e.Test)
	}
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
	case "pass", "fail", "skip":
		t.action = e.Action
		r.count[e.Action]++
		if e.Action == "skip" {
			reason := why(t.output)
			r.skipped[reason] = append(r.skipped[reason], path.Base(e.Package)+"."+e.Test)
		}
		if e.Action != "fail" {
			t.output = nil
		}
	}
}

func (r *report) ofPackage(p *results, e event) {
	switch e.Action {
	case "output":
		p.own = append(p.own, e.Output)
		return
	case "pass", "skip":
		p.print(r.out, func(line string) bool { return strings.HasPrefix(line, "ok") || strings.HasPrefix(line, "?") })
	case "fail":
		for _, name := range p.order {
			if t := p.tests[name]; t.action == "fail" || t.action == "" {
				io.WriteString(r.out, strings.Join(slices.DeleteFunc(t.output, progress), ""))
			}
		}
		p.print(r.out, func(line string) bool { return !progress(line) && line != "PASS\n" })
	default:
		return
	}
	delete(r.packages, e.Package)
}

func (p *results) print(out io.Writer, wanted func(string) bool) {
	for _, line := range p.own {
		if wanted(line) {
			io.WriteString(out, line)
		}
	}
}

// progress lines say that a test began or goes on.
func progress(line string) bool { return strings.HasPrefix(line, "=== ") }

var place = regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)$`)

// why finds the reason for a skip: the last thing that the test said.
func why(output []string) string {
	reason := "(no reason given)"
	for _, line := range output {
		if m := place.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			reason = m[1]
		}
	}
	return reason
}

// skips prints the table of what was skipped, most first.
func (r *report) skips() {
	type row struct {
		reason string
		tests  []string
	}
	var rows []row
	for reason, tests := range r.skipped {
		slices.Sort(tests)
		rows = append(rows, row{reason, tests})
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(len(b.tests), len(a.tests)), cmp.Compare(a.reason, b.reason))
	})
	if len(rows) == 0 {
		fmt.Fprintln(r.out, "\nNo test was skipped.")
	} else {
		fmt.Fprintf(r.out, "\n%d of %d tests were skipped:\n", r.count["skip"], r.count["skip"]+r.count["pass"]+r.count["fail"])
	}
	for _, row := range rows {
		fmt.Fprintf(r.out, "%6d  %s (as %s)\n", len(row.tests), row.reason, row.tests[0])
	}
}
