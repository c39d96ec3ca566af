package untyped_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/kinds/untyped"
)

// TestCellsSideBySide: each object gets its own cells, whoever else is served by the row, and after objects whose cells cannot be found.
func TestCellsSideBySide(t *testing.T) {
	column := func(name, typ, path string) untyped.Column {
		return untyped.Column{TableColumnDefinition: metav1.TableColumnDefinition{Name: name, Type: typ}, Path: path}
	}
	row, err := untyped.New(untyped.Config{
		GVK: schema.GroupVersionKind{Group: "example.org", Version: "v1", Kind: "Cup"}, Resource: "cups", Selectable: []string{".spec.color"},
		Columns: []untyped.Column{
			column("Size", "integer", ".spec.size"), column("Teas", "string", ".spec.teas[*].name"), column("Second", "string", ".spec.teas[1].name"),
			column("Each", "string", "range .spec.teas[*]}{.name}{end"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				n := fmt.Sprintf("%d-%d", i, j)
				obj := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": n}, "spec": map[string]any{
					"size": int64(j), "color": n, "teas": []any{map[string]any{"name": "a" + n}, map[string]any{"name": "b" + n}},
				}}}
				want := []any{n, int64(j), "a" + n + " b" + n, "b" + n, "a" + n}
				if j%3 == 0 { // the second is out of range, which is an error of the path
					obj.Object["spec"].(map[string]any)["teas"] = []any{map[string]any{"name": "a" + n}}
					want = []any{n, int64(j), "a" + n, nil, "a" + n}
				}
				if diff := cmp.Diff(want, row.Cells(obj)); diff != "" {
					t.Errorf("cells of %s (-want +got):\n%s", n, diff)
				}
				if got := row.Fields(obj)["spec.color"]; got != n {
					t.Errorf("spec.color of %s is %q", n, got)
				}
			}
		})
	}
	wg.Wait()
}
