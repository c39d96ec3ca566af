// Package specification holds documents against the Compose Specification's JSON schema and says in plain words where they differ.
//
// It is a package of its own because the machinery of JSON schemas is large and slow to start: a program that starts often asks another, and
// remembers the answer. Start with Findings.
package specification

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/cuppa-project/cuppa/compose/load"
)

// Valid is true of a document, in JSON, in which compose-go finds nothing against the schema.
func Valid(doc []byte) bool {
	var raw map[string]any
	return json.Unmarshal(doc, &raw) == nil && schema.Validate(raw) == nil
}

// Findings tells every place at which a document, in JSON, is not as the schema has it.
func Findings(doc []byte) ([]load.Finding, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return nil, err
	}
	compiled, err := compileSchema()
	if err != nil {
		return nil, err
	}
	failed, ok := compiled.Validate(value).(*jsonschema.ValidationError)
	if !ok {
		return nil, nil
	}
	var out []load.Finding
	for _, f := range leaves(failed) {
		// A key whose value is wrong counts as unknown too, for the schema then has not evaluated it.
		if _, unknown := f.kind.(*kind.FalseSchema); unknown && slices.Contains(siblings(f.path), f.path[len(f.path)-1]) {
			continue
		}
		out = append(out, load.Finding{Path: f.path, Text: f.text(value)})
	}
	return out, nil
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
		if near := load.Nearest(f.path[len(f.path)-1], siblings(f.path)); near != "" {
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
