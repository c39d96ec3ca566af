package untyped

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/util/jsonpath"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// table makes the columns and what fills them.
func table(columns []Column) ([]metav1.TableColumnDefinition, func(*unstructured.Unstructured) []any, error) {
	definitions := []metav1.TableColumnDefinition{meta.NameColumn()}
	if columns == nil {
		return append(definitions, meta.AgeColumn()), func(obj *unstructured.Unstructured) []any {
			return []any{obj.GetName(), meta.Age(obj.GetCreationTimestamp())}
		}, nil
	}
	paths := make([]*path, len(columns))
	for i, c := range columns {
		p, err := newPath(c.Path)
		if err != nil {
			return nil, nil, errkind.New(errkind.Invalid, "column %q: %w", c.Name, err)
		}
		definitions = append(definitions, c.TableColumnDefinition)
		paths[i] = p
	}
	return definitions, func(obj *unstructured.Unstructured) []any {
		cells := []any{obj.GetName()}
		for i, p := range paths {
			cells = append(cells, p.cell(obj, columns[i].Type))
		}
		return cells
	}, nil
}

// path is a JSONPath of a row, parsed when the row is made. A parsed one keeps state while it is at work, so that as many are kept as are at
// work side by side. Any number of goroutines may use it.
type path struct {
	text   string
	parsed sync.Pool // of *jsonpath.JSONPath
}

func newPath(text string) (*path, error) {
	p := &path{text: text}
	first, err := p.parse()
	if err != nil {
		return nil, err
	}
	p.parsed.Put(first)
	return p, nil
}

func (p *path) parse() (*jsonpath.JSONPath, error) {
	parsed := jsonpath.New("").AllowMissingKeys(true)
	if err := parsed.Parse("{" + p.text + "}"); err != nil {
		return nil, fmt.Errorf("JSONPath %q: %w", p.text, err)
	}
	return parsed, nil
}

// cell is what the path finds, in the column's type; nil if that is nothing, or of another type.
func (p *path) cell(obj *unstructured.Unstructured, typ string) any {
	parsed, _ := p.parsed.Get().(*jsonpath.JSONPath)
	if parsed == nil {
		var err error
		if parsed, err = p.parse(); err != nil {
			return nil
		}
	}
	found, err := parsed.FindResults(obj.Object)
	if err != nil {
		return nil // and what was in the middle of its work is not used again
	}
	if !strings.Contains(p.text, "range") { // a range eats up what was parsed
		defer p.parsed.Put(parsed)
	}
	if len(found) == 0 || len(found[0]) == 0 {
		return nil
	}
	if len(found[0]) > 1 {
		var out bytes.Buffer
		if parsed.PrintResults(&out, found[0]) != nil {
			return nil
		}
		return out.String()
	}
	return typed(found[0][0].Interface(), typ)
}

func typed(value any, typ string) any {
	switch typ {
	case "integer":
		switch n := value.(type) {
		case int64:
			return n
		case float64:
			return int64(n)
		}
		return nil
	case "number":
		switch n := value.(type) {
		case int64:
			return float64(n)
		case float64:
			return n
		}
		return nil
	case "boolean":
		if b, ok := value.(bool); ok {
			return b
		}
		return nil
	case "date":
		text, _ := value.(string)
		moment, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return "<invalid>"
		}
		return meta.Age(metav1.Time{Time: moment})
	}
	if text, ok := value.(string); ok {
		return text
	}
	return fmt.Sprint(value)
}

// selectable makes what field selectors see, besides name and namespace.
func selectable(texts []string) (func(registry.Object) fields.Set, []string, error) {
	if len(texts) == 0 {
		return nil, nil, nil
	}
	var names []string
	var paths []*path
	for _, text := range texts {
		p, err := newPath(text)
		if err != nil {
			return nil, nil, errkind.New(errkind.Invalid, "selectable field: %w", err)
		}
		names, paths = append(names, strings.TrimPrefix(text, ".")), append(paths, p)
	}
	return func(obj registry.Object) fields.Set {
		set := fields.Set{}
		for i, p := range paths {
			set[names[i]] = ""
			if value := p.cell(obj.(*unstructured.Unstructured), "string"); value != nil {
				set[names[i]] = value.(string)
			}
		}
		return meta.WithFields(obj, set)
	}, names, nil
}
