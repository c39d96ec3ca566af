package main

import (
	"math/rand"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/builder3"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/cuppa-project/cuppa/apiserver/kinds"
	"github.com/cuppa-project/cuppa/apiserver/openapi"
	"github.com/cuppa-project/cuppa/apiserver/openapi/document"
)

// TestSchemaIsTheLibrarys: the embedded schema makes of any object what the library's own converter makes of it, which is built from
// the definitions and too slow to start with.
func TestSchemaIsTheLibrarys(t *testing.T) {
	table := kinds.All()
	var names []string
	for _, kind := range table.Kinds() {
		name, err := clientscheme.Scheme.ToOpenAPIDefinitionName(kind.GVK)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	models, err := builder3.BuildOpenAPIDefinitionsForResources(document.Config3(nil), names...)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := managedfields.NewTypeConverter(models, false)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := openapi.TypeConverter()
	if err != nil {
		t.Fatal(err)
	}
	filler := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(37), serializer.NewCodecFactory(clientscheme.Scheme))
	for _, kind := range table.Kinds() {
		t.Run(kind.GVK.String(), func(t *testing.T) {
			for range 20 {
				obj := kind.New()
				filler.Fill(obj)
				obj.GetObjectKind().SetGroupVersionKind(kind.GVK)
				want, wantErr := theirs.ObjectToTyped(obj, typed.AllowDuplicates)
				got, gotErr := ours.ObjectToTyped(obj, typed.AllowDuplicates)
				if (wantErr == nil) != (gotErr == nil) {
					t.Fatalf("error %v, want %v", gotErr, wantErr)
				}
				if wantErr != nil {
					continue
				}
				wantSet, err := want.ToFieldSet()
				if err != nil {
					t.Fatal(err)
				}
				gotSet, err := got.ToFieldSet()
				if err != nil {
					t.Fatal(err)
				}
				if !wantSet.Equals(gotSet) {
					t.Fatalf("fields %s, want %s", gotSet.Difference(wantSet), wantSet.Difference(gotSet))
				}
			}
		})
	}
}
