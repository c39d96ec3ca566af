package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// results are the figures so far, by the ids of rows.
type results struct {
	mu      sync.Mutex
	figures map[string][]float64
	notes   map[string]string // why a row has no figures
	only    []string          // the rows that are asked for; none: all
}

func newResults() *results {
	return &results{figures: map[string][]float64{}, notes: map[string]string{}}
}

// put keeps a row's figures, in the order of the row; fewer than it has are those that could be measured.
func (r *results) put(id string, figures ...float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.figures[id] = figures
}

// step measures rows: what fails is noted in them, and the run goes on.
func (r *results) step(ids string, measure func() error) {
	if len(r.only) > 0 && !slices.ContainsFunc(strings.Fields(ids), func(id string) bool { return slices.Contains(r.only, id) }) {
		return
	}
	fmt.Fprintf(os.Stderr, "bench: %s ...\n", ids)
	err := measure()
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range strings.Fields(ids) {
		if _, ok := r.figures[id]; !ok {
			r.notes[id] = "not measured: " + strings.Join(strings.Fields(err.Error()), " ")
		}
	}
	fmt.Fprintf(os.Stderr, "bench: %s: %v\n", ids, err)
}

// table is the rows of some groups as a table that a terminal and a Markdown page show alike.
func (r *results) table(groups map[string]bool) string {
	lines := [][]string{{"what", "measured", "budget", "", "how"}, nil}
	for _, row := range rows {
		if groups[row.group] && (len(r.only) == 0 || slices.Contains(r.only, row.id)) {
			lines = append(lines, r.line(row))
		}
	}
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for _, line := range lines {
		for i, width := range widths {
			if line == nil {
				out.WriteString("|" + strings.Repeat("-", width+2))
				continue
			}
			fmt.Fprintf(&out, "| %-*s ", width, line[i])
		}
		out.WriteString("|\n")
	}
	return out.String()
}

func (r *results) line(row row) []string {
	values, measured := r.figures[row.id]
	verdict := ""
	var got, budgets []string
	for i, f := range row.figures {
		if f.budget > 0 {
			budgets = append(budgets, f.text(f.budget))
		}
		if i >= len(values) {
			continue
		}
		got = append(got, f.text(values[i]))
		if f.budget > 0 && verdict == "" {
			verdict = "ok"
		}
		if f.over(values[i]) {
			verdict = "OVER"
		}
	}
	text := strings.Join(got, ", ")
	if !measured {
		text = r.notes[row.id]
		if text == "" {
			text = "not measured"
		}
	}
	if len(text) > 90 {
		text = text[:90] + "..."
	}
	return []string{row.what, text, strings.Join(budgets, ", "), verdict, row.how}
}

// over says whether a value breaks the figure's budget.
func (f figure) over(value float64) bool {
	if f.budget == 0 {
		return false
	}
	if f.unit == perSecond {
		return value < f.budget
	}
	return value > f.budget
}

// text writes a value with the figure's name and unit.
func (f figure) text(value float64) string {
	var s string
	switch f.unit {
	case milliseconds:
		s = fmt.Sprintf("%.*f ms", decimals(value), value)
	case microseconds:
		s = fmt.Sprintf("%.*f us", decimals(value), value)
	case seconds:
		s = fmt.Sprintf("%.2f s", value)
	case megabytes:
		s = fmt.Sprintf("%.0f MB", value)
	case percent:
		s = fmt.Sprintf("%.1f %%", value)
	case perSecond:
		s = fmt.Sprintf("%.0f/s", value)
	}
	return strings.TrimSpace(f.name + " " + s)
}

// decimals keeps about two digits of small values.
func decimals(value float64) int {
	switch {
	case value < 1:
		return 2
	case value < 20:
		return 1
	}
	return 0
}

// quantile is the value below which a share of all values lies; 0.5 is the median.
func quantile(all []time.Duration, share float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// medianMax is what most rows print.
func medianMax(all []time.Duration) []float64 {
	return []float64{ms(quantile(all, 0.5)), ms(slices.Max(all))}
}
