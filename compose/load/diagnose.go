package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/interpolation"
	"go.yaml.in/yaml/v4"
)

// ErrUndecided is the error of Load when compose-go refused the files and there is no schema to say why.
var ErrUndecided = errors.New("the files could not be held against the Compose Specification")

// Finding is one place where a document and the Compose Specification's schema differ.
type Finding struct {
	Path []string
	Text string
}

// diagnose explains why compose-go refused the files. It stops at the first error it meets, in random order; so the files are held against the
// schema once more, and everything is reported. What the schema does not know is compose-go's own text with a place put to it.
func (j *job) diagnose(cause error) error {
	if j.opts.Schema == nil {
		return fmt.Errorf("%w: %w", ErrUndecided, cause)
	}
	var problems Problems
	for i, file := range j.files {
		problems = append(problems, j.schemaProblems(j.sources[i], file.Content)...)
	}
	if len(problems) > 0 {
		return problems.sorted()
	}
	for _, err := range flatten(cause) {
		problems = append(problems, j.explain(err.Error())...)
	}
	return problems.sorted()
}

func flatten(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range many.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

func (j *job) schemaProblems(src *source, content []byte) Problems {
	var raw map[string]any
	if err := yaml.Unmarshal(content, &raw); err != nil {
		return nil
	}
	interpolated, err := interpolation.Interpolate(raw, interpolation.Options{Substitute: j.vars.substitute,
		LookupValue: func(k string) (string, bool) { v, ok := j.loc.Env[k]; return v, ok }})
	if err != nil {
		return nil
	}
	// The validator takes JSON's types only.
	data, err := json.Marshal(interpolated)
	if err != nil {
		return Problems{{File: src.show, Text: err.Error()}}
	}
	found, err := j.opts.Schema(data)
	if err != nil {
		return Problems{{File: src.show, Text: err.Error()}}
	}
	var problems Problems
	for _, f := range found {
		line, _ := src.line(f.Path)
		problems = append(problems, Problem{File: src.show, Line: line, Path: dotted(f.Path), Text: f.Text})
	}
	return problems
}

func dotted(path []string) string {
	var b strings.Builder
	for i, p := range path {
		if strings.Trim(p, "0123456789") == "" && p != "" && i > 1 {
			b.WriteString("[" + p + "]")
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(p)
	}
	return b.String()
}

// explain gives a place to an error text of compose-go, as far as it names one.
func (j *job) explain(text string) Problems {
	text = strings.TrimSuffix(text, ": invalid compose project")
	for _, file := range j.loc.Files {
		text = strings.TrimPrefix(text, "validating "+file+": ")
		text = strings.TrimPrefix(text, "failed to parse "+file+": ")
	}
	if _, list, found := strings.Cut(text, "decoding failed due to the following error(s):"); found {
		var out Problems
		for line := range strings.Lines(list) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, reworded(j.explainLine(line)))
			}
		}
		return out
	}
	text = strings.ReplaceAll(text, "\n", " ")
	return Problems{reworded(j.explainLine(text))}
}

func (j *job) explainLine(text string) Problem {
	var path []string
	bracketed := regexp.MustCompile(`'services\[([^\]]+)\]\.([\w.\[\]]+)'`)
	plain := regexp.MustCompile(`\b(?:services|volumes|networks|configs|secrets)\.[\w.\[\]-]*[\w\]]`)
	quoted := regexp.MustCompile(`service "([^"]+)"`)
	envFile := regexp.MustCompile(`(?:env file|failed to read) (\S+?):? (?:not found|line)`)
	p := Problem{Text: text}
	if m := envFile.FindStringSubmatch(text); m != nil {
		p.File, p.Line = j.findScalar(m[1])
		return p
	}
	switch m := bracketed.FindStringSubmatch(text); {
	case m != nil:
		path = append([]string{"services", m[1]}, strings.Split(m[2], ".")...)
		p.Path = dotted(path)
		p.Text = strings.TrimSpace(strings.TrimPrefix(strings.Replace(text, m[0], "", 1), ":"))
	case plain.MatchString(text):
		path = strings.Split(plain.FindString(text), ".")
	default:
		if m := quoted.FindStringSubmatch(text); m != nil {
			path = []string{"services", m[1]}
		}
	}
	if len(path) > 0 {
		p.File, p.Line = place(j.sources, path)
		return p
	}
	// The value that is complained of comes last, as a rule.
	if words := strings.Fields(text); len(words) > 1 {
		word := strings.Trim(words[len(words)-1], `"'.`)
		for _, s := range j.sources {
			if line := scalarLine(s.root, func(v string) bool { return strings.Contains(v, word) }); line > 0 {
				p.File, p.Line = s.show, line
				return p
			}
		}
	}
	if len(j.sources) == 1 {
		p.File = j.sources[0].show
	}
	return p
}

// findScalar finds the line of a value that is this path, relative or absolute.
func (j *job) findScalar(path string) (string, int) {
	for _, s := range j.sources {
		if s.root == nil {
			continue
		}
		if line := scalarLine(s.root, func(v string) bool { return absolute(j.loc.Dir, v) == path }); line > 0 {
			return s.show, line
		}
	}
	return "", 0
}

func scalarLine(n *yaml.Node, match func(string) bool) int {
	if n.Kind == yaml.ScalarNode && match(n.Value) {
		return n.Line
	}
	for _, c := range n.Content {
		if line := scalarLine(c, match); line > 0 {
			return line
		}
	}
	return 0
}
