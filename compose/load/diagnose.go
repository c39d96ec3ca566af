package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"go.yaml.in/yaml/v4"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// diagnose explains why compose-go refused the files. It stops at the first error it meets, in random order; so the files are held against the
// schema once more, and everything is reported. What the schema does not know is compose-go's own text with a place put to it.
func (j *job) diagnose(cause error) Problems {
	var problems Problems
	for i, file := range j.files {
		problems = append(problems, j.schemaProblems(j.sources[i], file.Content)...)
	}
	if len(problems) > 0 {
		return problems
	}
	for _, err := range flatten(cause) {
		problems = append(problems, j.explain(err.Error())...)
	}
	return problems
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
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return Problems{{File: src.show, Text: err.Error()}}
	}
	compiled, err := compileSchema()
	if err != nil {
		return Problems{{File: src.show, Text: err.Error()}}
	}
	failed, ok := compiled.Validate(value).(*jsonschema.ValidationError)
	if !ok {
		return nil
	}
	var problems Problems
	for _, f := range leaves(failed) {
		// A key whose value is wrong counts as unknown too, for the schema then has not evaluated it.
		if _, unknown := f.kind.(*kind.FalseSchema); unknown && slices.Contains(siblings(f.path), f.path[len(f.path)-1]) {
			continue
		}
		line, _ := src.line(f.path)
		problems = append(problems, Problem{File: src.show, Line: line, Path: dotted(f.path), Text: f.text(value)})
	}
	return problems
}

func compileSchema() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema.Schema))
	if err != nil {
		return nil, fmt.Errorf("read the compose schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("compose.json", doc); err != nil {
		return nil, fmt.Errorf("read the compose schema: %w", err)
	}
	return c.Compile("compose.json")
}

// finding is one place where a file and the schema differ.
type finding struct {
	path []string
	kind jsonschema.ErrorKind
}

// leaves takes a validation error apart. Of alternatives the one that got furthest is what the user meant; if all fail at once because of the
// type, the types are put together.
func leaves(err *jsonschema.ValidationError) []finding {
	if extra, ok := err.ErrorKind.(*kind.AdditionalProperties); ok {
		var out []finding
		for _, key := range extra.Properties {
			out = append(out, finding{path: append(slices.Clone(err.InstanceLocation), key), kind: &kind.FalseSchema{}})
		}
		return out
	}
	if len(err.Causes) == 0 {
		return []finding{{path: err.InstanceLocation, kind: err.ErrorKind}}
	}
	switch err.ErrorKind.(type) {
	case *kind.OneOf, *kind.AnyOf:
		return alternatives(err)
	}
	var out []finding
	for _, c := range err.Causes {
		out = append(out, leaves(c)...)
	}
	return out
}

func alternatives(err *jsonschema.ValidationError) []finding {
	var best []finding
	deepest := -1
	var want []string
	for _, c := range err.Causes {
		found := leaves(c)
		depth := len(err.InstanceLocation)
		for _, f := range found {
			depth = max(depth, len(f.path))
			if t, ok := f.kind.(*kind.Type); ok && len(f.path) == len(err.InstanceLocation) {
				want = append(want, t.Want...)
			} else if len(f.path) == len(err.InstanceLocation) {
				depth++
			}
		}
		if depth > deepest {
			best, deepest = found, depth
		}
	}
	if deepest == len(err.InstanceLocation) && len(want) > 0 {
		return []finding{{path: err.InstanceLocation, kind: &kind.Type{Want: want}}}
	}
	return best
}

func (f finding) text(root any) string {
	switch k := f.kind.(type) {
	case *kind.FalseSchema:
		text := "unknown key"
		if near := nearest(f.path[len(f.path)-1], siblings(f.path)); near != "" {
			text += fmt.Sprintf(" (did you mean %q?)", near)
		}
		return text
	case *kind.Type:
		text := "must be " + typeWords(k.Want)
		switch v := valueAt(root, f.path).(type) {
		case json.Number:
			if slices.Contains(k.Want, "string") {
				text += fmt.Sprintf(": put it in quotes (\"%s\")", v)
			}
		case bool:
			if slices.Contains(k.Want, "string") {
				text += fmt.Sprintf(": put it in quotes (\"%t\")", v)
			}
		}
		return text
	case *kind.Enum:
		return "must be one of " + strings.ReplaceAll(strings.Trim(fmt.Sprint(k.Want), "[]"), " ", ", ")
	case *kind.Required:
		return "lacks " + strings.Join(k.Missing, ", ")
	}
	return f.kind.LocalizedString(message.NewPrinter(language.English))
}

func typeWords(want []string) string {
	words := map[string]string{"object": "a mapping", "array": "a list", "string": "a string", "number": "a number",
		"integer": "a whole number", "boolean": "true or false", "null": "empty"}
	var out []string
	for _, w := range want {
		if word := words[w]; !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " or ")
}

// siblings are the keys that the specification has at the place of the last part of the path.
func siblings(path []string) []string {
	var out []string
	for _, p := range schema.AttributePaths() {
		parts := p.Parts()
		if len(parts) != len(path) {
			continue
		}
		fits := true
		for i := range len(parts) - 1 {
			fits = fits && (parts[i] == path[i] || parts[i] == "*" || parts[i] == "[]")
		}
		if fits && parts[len(parts)-1] != "*" {
			out = append(out, parts[len(parts)-1])
		}
	}
	return out
}

func valueAt(v any, path []string) any {
	for _, key := range path {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			var i int
			if _, err := fmt.Sscanf(key, "%d", &i); err != nil || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
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
