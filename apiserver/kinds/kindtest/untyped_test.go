package kindtest_test

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/kinds/kindtest"
	"github.com/cuppa-project/cuppa/apiserver/kinds/untyped"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// TestUntypedKind asks the same of a kind without a Go type, in a namespace and without one.
func TestUntypedKind(t *testing.T) {
	for _, namespaced := range []bool{true, false} {
		kind, err := untyped.New(untyped.Config{
			GVK: schema.GroupVersionKind{Group: "tea.example.org", Version: "v1", Kind: "Cup"}, Resource: "cups", Singular: "cup", Namespaced: namespaced, Status: true,
			Columns:    []untyped.Column{{TableColumnDefinition: metav1.TableColumnDefinition{Name: "Size", Type: "integer"}, Path: ".spec.size"}},
			Selectable: []string{".spec.color"},
			Prune: func(obj *unstructured.Unstructured) (unknown []string) {
				spec, _ := obj.Object["spec"].(map[string]any)
				for name := range spec {
					if !slices.Contains([]string{"size", "color", "lid", "tags"}, name) {
						delete(spec, name)
						unknown = append(unknown, "spec."+name)
					}
				}
				return unknown
			},
			Validate: func(obj, _ *unstructured.Unstructured) field.ErrorList {
				if size, _, _ := unstructured.NestedInt64(obj.Object, "spec", "size"); size < 0 {
					return field.ErrorList{field.Invalid(field.NewPath("spec", "size"), size, "must not be negative")}
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Run(map[bool]string{true: "namespaced", false: "cluster"}[namespaced], func(t *testing.T) {
			server := apiservertest.New(t)
			_, err := server.Registry().Update(t.Context(), func(have []*registry.Kind) ([]*registry.Kind, error) { return append(have, kind), nil })
			if err != nil {
				t.Fatal(err)
			}
			kindtest.Run(t, server, kind, kindtest.Fixture{
				Minimal:      map[string]any{"spec": map[string]any{"size": int64(2)}},
				Full:         map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "shop"}}, "spec": map[string]any{"size": int64(3), "color": "white", "lid": map[string]any{"fits": true}, "tags": []any{"a", "b"}}},
				Status:       map[string]any{"status": map[string]any{"full": true}},
				Invalid:      map[string]any{"spec": map[string]any{"size": int64(-1)}},
				InvalidField: "spec.size",
			})
		})
	}
}
