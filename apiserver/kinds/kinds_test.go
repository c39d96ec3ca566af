package kinds

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestTable prints the table of kinds: what discovery, storage and clients derive from it.
func TestTable(t *testing.T) {
	var out strings.Builder
	for _, k := range All().Kinds() {
		scope := "cluster"
		if k.Namespaced {
			scope = "namespaced"
		}
		out.WriteString(strings.Join([]string{k.GVK.GroupVersion().String(), k.GVK.Kind, k.Resource, k.Singular,
			strings.Join(k.ShortNames, ","), scope, "/registry/" + k.StoragePrefix}, " ") + "\n")
		for _, c := range k.Columns {
			wide := ""
			if c.Priority > 0 {
				wide = " wide"
			}
			out.WriteString("\tcolumn " + c.Name + " " + c.Type + wide + "\n")
		}
		for _, s := range k.Subresources {
			out.WriteString("\tsubresource " + s.Name + " " + s.GVK.String() + " " + strings.Join(s.Verbs, ",") + "\n")
		}
		if len(k.SelectableFields) > 0 {
			out.WriteString("\tfields " + strings.Join(k.SelectableFields, " ") + "\n")
		}
	}
	testkit.Golden(t, "table.golden", out.String())
}

// TestRowsAreWhole holds what every user of the table relies on.
func TestRowsAreWhole(t *testing.T) {
	for _, k := range All().Kinds() {
		t.Run(k.GVK.String(), func(t *testing.T) {
			if k.Storage == registry.Virtual {
				return // registry.NewSnapshot knows what such a row needs
			}
			if k.New == nil || k.NewList == nil || k.Cells == nil || k.ValidateCreate == nil || k.ValidateUpdate == nil || k.StoragePrefix == "" {
				t.Fatal("a hook that every kind has is missing")
			}
			obj := k.New()
			if _, err := clientscheme.Scheme.New(k.GVK); err != nil {
				t.Error(err)
			}
			if got := len(k.Cells(obj)); got != len(k.Columns) {
				t.Errorf("%d cells for %d columns", got, len(k.Columns))
			}
			if k.Default != nil {
				k.Default(obj)
			}
			if errs := k.ValidateCreate(obj); len(errs) == 0 {
				t.Error("an empty object is valid")
			}
			if k.Fields != nil {
				set := k.Fields(obj)
				for _, name := range append([]string{"metadata.name"}, k.SelectableFields...) {
					if _, ok := set[name]; !ok {
						t.Errorf("field %s can be selected and has no value", name)
					}
				}
			}
			for _, sub := range k.Subresources {
				if len(sub.Verbs) == 0 {
					t.Errorf("subresource %s has no verbs", sub.Name)
				}
			}
		})
	}
}

// fuzzed calls f with objects of the kind that have random content in every field.
func fuzzed(t *testing.T, k *registry.Kind, n int, f func(obj registry.Object)) {
	t.Helper()
	filler := fuzzer.FuzzerFor(metafuzzer.Funcs, randomSource(), serializer.NewCodecFactory(clientscheme.Scheme))
	for range n {
		obj := k.New()
		filler.Fill(obj)
		f(obj)
	}
}

// TestDefaultsAreIdempotent: an object is defaulted on every read and write, and the second time nothing may move.
func TestDefaultsAreIdempotent(t *testing.T) {
	for _, k := range All().Kinds() {
		if k.Default == nil {
			continue
		}
		t.Run(k.GVK.String(), func(t *testing.T) {
			fuzzed(t, k, 100, func(obj registry.Object) {
				k.Default(obj)
				once := obj.DeepCopyObject()
				k.Default(obj)
				if diff := cmp.Diff(once, runtime.Object(obj)); diff != "" {
					t.Fatalf("defaulted twice is different:\n%s", diff)
				}
			})
		})
	}
}

// TestHooksTakeAnything: whatever a client sends is answered with faults, never with a panic.
func TestHooksTakeAnything(t *testing.T) {
	for _, k := range All().Kinds() {
		t.Run(k.GVK.String(), func(t *testing.T) {
			var previous registry.Object
			fuzzed(t, k, 200, func(obj registry.Object) {
				exercise(k, obj, previous)
				previous = obj
			})
			exercise(k, k.New(), k.New())
			exercise(k, previous.DeepCopyObject().(registry.Object), k.New())
			exercise(k, k.New(), previous)
		})
	}
}

func exercise(k *registry.Kind, obj, old registry.Object) {
	if k.ValidateCreate != nil {
		k.ValidateCreate(obj.DeepCopyObject().(registry.Object)) // as it came, not defaulted
	}
	if k.Storage == registry.Virtual {
		return
	}
	if k.Default != nil {
		k.Default(obj)
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj.DeepCopyObject().(registry.Object))
	}
	k.ValidateCreate(obj)
	k.Cells(obj)
	if k.Fields != nil {
		k.Fields(obj)
	}
	if k.GracefulDelete != nil {
		k.GracefulDelete(obj, nil)
	}
	if k.Warnings != nil {
		k.Warnings(obj, old)
	}
	if old == nil {
		return
	}
	change := func(prepare func(obj, old registry.Object), validate func(registry.Object) int) {
		now := obj.DeepCopyObject().(registry.Object)
		if prepare != nil {
			prepare(now, old)
		}
		validate(now)
	}
	change(k.PrepareUpdate, func(now registry.Object) int { return len(k.ValidateUpdate(now, old)) })
	for _, sub := range k.Subresources {
		if sub.ValidateUpdate != nil {
			change(sub.PrepareUpdate, func(now registry.Object) int { return len(sub.ValidateUpdate(now, old)) })
		}
		if sub.From != nil {
			if scale, err := sub.From(obj); err == nil {
				sub.Into(old, scale)
			}
		}
	}
}

// TestConversionsLoseNothing: the second version of a kind must survive being stored as the first, and back.
func TestConversionsLoseNothing(t *testing.T) {
	for _, k := range All().Kinds() {
		if k.ToStorage == nil {
			continue
		}
		t.Run(k.GVK.String(), func(t *testing.T) {
			fuzzed(t, k, 200, func(obj registry.Object) {
				obj.GetObjectKind().SetGroupVersionKind(k.GVK)
				stored, err := k.ToStorage(t.Context(), obj)
				if err != nil {
					t.Fatal(err)
				}
				if got := stored.GetObjectKind().GroupVersionKind(); got != k.StorageVersion {
					t.Fatalf("stored as %v, want %v", got, k.StorageVersion)
				}
				back, err := k.FromStorage(t.Context(), []registry.Object{stored})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(runtime.Object(obj), runtime.Object(back[0])); diff != "" {
					t.Fatalf("lost on the way through the store:\n%s", diff)
				}
			})
		})
	}
}
