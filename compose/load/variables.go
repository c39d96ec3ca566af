package load

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/compose-spec/compose-go/v2/template"
)

// substituter replaces variables and remembers which were not set.
type substituter struct{ unset map[string]bool }

func newSubstituter() *substituter { return &substituter{unset: map[string]bool{}} }

func (s *substituter) substitute(text string, lookup template.Mapping) (string, error) {
	name := regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*`)
	return template.SubstituteWithOptions(text, lookup, template.WithoutLogging,
		template.WithReplacementFunction(func(match string, lookup template.Mapping, cfg *template.Config) (string, error) {
			value, applied, err := template.DefaultReplacementAppliedFunc(match, lookup, cfg)
			if err == nil && !applied {
				s.unset[name.FindString(match)] = true
			}
			return value, err
		}))
}

func (s *substituter) warnings() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.unset)) {
		out = append(out, fmt.Sprintf("The %q variable is not set. Defaulting to a blank string.", name))
	}
	return out
}
