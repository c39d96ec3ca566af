package report

import (
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// suite is the part of ginkgo's JSON report that says what each case came to.
type suite struct {
	SpecReports []spec
}

type spec struct {
	ContainerHierarchyTexts  []string
	ContainerHierarchyLabels [][]string
	LeafNodeType             string
	LeafNodeText             string
	LeafNodeLabels           []string
	State                    string
	Failure                  struct{ Message string }
}

// label marks the cases that are asked of every cluster that calls itself Kubernetes.
const label = "Conformance"

// Read takes the conformance cases from ginkgo's JSON report, with the reasons that the table of causes gives. Of a run that its user cut
// short, the cases that were under way count as not run.
func Read(from io.Reader, causes []Cause, cut bool) ([]Case, error) {
	var suites []suite
	if err := json.NewDecoder(from).Decode(&suites); err != nil {
		return nil, errkind.New(errkind.Invalid, "read the suite's report: %w", err)
	}
	var out []Case
	for _, s := range suites {
		for _, spec := range s.SpecReports {
			if spec.LeafNodeType != "It" {
				if bad(spec.State) {
					return nil, errkind.New(errkind.Unavailable, "the suite could not begin: %s failed: %s", spec.LeafNodeType, shorten(spec.Failure.Message))
				}
				continue
			}
			if !spec.conformance() {
				continue
			}
			if cut && (spec.State == "interrupted" || spec.State == "aborted") {
				spec.State, spec.Failure.Message = "skipped", ""
			}
			out = append(out, spec.read(causes))
		}
	}
	if len(out) == 0 {
		return nil, errkind.New(errkind.Invalid, "the suite's report names no conformance case")
	}
	slices.SortFunc(out, compare)
	return out, nil
}

func (s spec) conformance() bool {
	return slices.Contains(s.LeafNodeLabels, label) ||
		slices.ContainsFunc(s.ContainerHierarchyLabels, func(labels []string) bool { return slices.Contains(labels, label) })
}

func (s spec) read(causes []Cause) Case {
	c := Case{State: NotRun}
	c.Area, c.Name = name(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText))
	switch {
	case s.State == "passed":
		c.State = Passed
	case bad(s.State):
		c.State = Failed
		c.Why = why(c, s, causes)
	case s.Failure.Message != "":
		c.Why = code(shorten(s.Failure.Message))
	}
	return c
}

func bad(state string) bool {
	return slices.Contains([]string{"failed", "panicked", "timedout", "interrupted", "aborted"}, state)
}

func why(c Case, s spec, causes []Cause) string {
	for _, cause := range causes {
		if cause.matches(c, s.Failure.Message) {
			return cause.Say
		}
	}
	if s.State == "interrupted" || s.State == "aborted" {
		return "did not end within the time of the run"
	}
	return code(shorten(s.Failure.Message))
}

var (
	area = regexp.MustCompile(`^\[(sig-[a-z-]+)\] *`)
	tags = regexp.MustCompile(` *\[(Conformance|NodeConformance|LinuxOnly)\]`)
)

// name splits the texts round a case into its area and the rest.
func name(texts []string) (string, string) {
	full := strings.Join(texts, " ")
	where := "other"
	if m := area.FindStringSubmatch(full); m != nil {
		where, full = m[1], full[len(m[0]):]
	}
	return where, strings.Join(strings.Fields(tags.ReplaceAllString(full, "")), " ")
}

// longest is how much of a message the document has room for.
const longest = 240

var (
	// Gomega names the type and the address of what it compares.
	typed = regexp.MustCompile(`<[^<>|]*(\s*\|\s*0x[0-9a-f]+)?>:? ?`)
	// What differs from run to run would make every run's document a new one.
	uuid     = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	numbered = regexp.MustCompile(`-\d{2,}\b`)
	precise  = regexp.MustCompile(`(\d+)\.\d+(s\b)`)
	address  = regexp.MustCompile(`\b0x[0-9a-f]{6,}\b`)
)

// shorten makes one line of a failure's message, without what only a debugger wants.
func shorten(message string) string {
	var kept []string
	depth := 0
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		// Gomega prints an error's text, and then the whole value between braces that stand alone.
		if line == "{" || depth > 0 {
			depth += strings.Count(line, "{") - strings.Count(line, "}")
			continue
		}
		kept = append(kept, line)
	}
	text := typed.ReplaceAllString(strings.Join(kept, " "), "")
	text = uuid.ReplaceAllString(text, "UID")
	text = numbered.ReplaceAllString(text, "-N")
	text = precise.ReplaceAllString(text, "$1$2")
	text = address.ReplaceAllString(text, "0x")
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest])
		if i := strings.LastIndexByte(text, ' '); i > longest/2 {
			text = text[:i]
		}
		text += " ..."
	}
	return text
}

// code sets a message of the suite apart from words of ours.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "`", "'") + "`"
}
