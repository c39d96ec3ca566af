package untyped

import (
	"bytes"
	"fmt"
	"strings"
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
	paths := make([]string, len(columns))
	for i, c := range columns {
		if _, err := parse(c.Path); err != nil {
			return nil, nil, errkind.New(errkind.Invalid, "column %q: %w", c.Name, err)
		}
		definitions = append(definitions, c.TableColumnDefinition)
		paths[i] = c.Path
	}
	return definitions, func(obj *unstructured.Unstructured) []any {
		cells := []any{obj.GetName()}
		for i, path := range paths {
			cells = append(cells, cell(obj, path, columns[i].Type))
		}
		return cells
	}, nil
}

func parse(path string) (*jsonpath.JSONPath, error) {
	p := jsonpath.New("").AllowMissingKeys(true)
	if err := p.Parse("{" + path + "}"); err != nil {
		return nil, fmt.Errorf("JSONPath %q: %w", path, err)
	}
	return p, nil
}

// cell is what the path finds, in the column's type; nil if that is nothing, or of another type.
func cell(obj *unstructured.Unstructured, path, typ string) any {
	// A parsed path keeps state while it is at work, so that each cell needs one of its own.
	p, err := parse(path)
	if err != nil {
		return nil
	}
	found, err := p.FindResults(obj.Object)
	if err != nil || len(found) == 0 || len(found[0]) == 0 {
		return nil
	}
	if len(found[0]) > 1 {
		var out bytes.Buffer
		if p.PrintResults(&out, found[0]) != nil {
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
func selectable(paths []string) (func(registry.Object) fields.Set, []string, error) {
	if len(paths) == 0 {
		return nil, nil, nil
	}
	var names []string
	for _, path := range paths {
		if _, err := parse(path); err != nil {
			return nil, nil, errkind.New(errkind.Invalid, "selectable field: %w", err)
		}
		names = append(names, strings.TrimPrefix(path, "."))
	}
	return func(obj registry.Object) fields.Set {
		set := fields.Set{}
		for i, path := range paths {
			set[names[i]] = ""
			if value := cell(obj.(*unstructured.Unstructured), path, "string"); value != nil {
				set[names[i]] = value.(string)
			}
		}
		return meta.WithFields(obj, set)
	}, names, nil
}
