package apiserver_test

import (
	"encoding/json"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/kinds/untyped"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// described is a cup with a schema.
func described(about string) func(*untyped.Config) {
	return func(c *untyped.Config) {
		size := spec.Int64Property().WithDescription(about)
		size.Nullable = true
		c.Schema = &spec.Schema{SchemaProps: spec.SchemaProps{Description: "Cup holds tea", Type: []string{"object"},
			Properties: map[string]spec.Schema{"spec": {SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: map[string]spec.Schema{"size": *size}}}}}}
	}
}

// TestDescriptionsFollow: OpenAPI speaks of a kind for as long as it is served, in both versions, and the others' descriptions stay as they are.
func TestDescriptionsFollow(t *testing.T) {
	s := apiservertest.New(t)
	gv := schema.GroupVersion{Group: "tea.example.org", Version: "v1"}
	client := func() discovery.DiscoveryInterface { return client(t, s.Config).Discovery() } // a new one remembers nothing
	hashes := func() map[string]string {
		t.Helper()
		code, body := ask(t, s, "GET", "/openapi/v3", "application/json", "")
		var list struct {
			Paths map[string]struct{ ServerRelativeURL string }
		}
		if err := json.Unmarshal([]byte(body), &list); err != nil || code != 200 {
			t.Fatalf("%d %v", code, err)
		}
		out := map[string]string{}
		for path, link := range list.Paths {
			out[path] = link.ServerRelativeURL
		}
		return out
	}
	before := hashes()
	if _, early := before["apis/tea.example.org/v1"]; early {
		t.Fatal("a kind that is not served is described")
	}
	_, plain := ask(t, s, "GET", "/openapi/v2", "application/json", "")
	serve(t, s, cupKind(t, described("how much goes in")))
	doc := v3(t, client(), gv)
	cup := doc.Components.Schemas["org.example.tea.v1.Cup"]
	if cup == nil || cup.Description != "Cup holds tea" || cup.Properties["metadata"].AllOf == nil || cup.Properties["apiVersion"].Description == "" {
		t.Fatalf("the kind is described as %+v", cup)
	}
	if kinds := cup.Extensions["x-kubernetes-group-version-kind"]; !strings.Contains(text(t, kinds), `"kind":"Cup"`) {
		t.Errorf("the definition is for %v", kinds)
	}
	if inner := cup.Properties["spec"].Properties["size"]; inner.Description != "how much goes in" || !inner.Nullable {
		t.Errorf("its field is described as %+v", inner)
	}
	if list := doc.Components.Schemas["org.example.tea.v1.CupList"]; list == nil || len(list.Required) != 1 {
		t.Errorf("its list is described as %+v", list)
	}
	for path, verbs := range map[string]string{
		"/apis/tea.example.org/v1/namespaces/{namespace}/cups":        "list post deletecollection",
		"/apis/tea.example.org/v1/namespaces/{namespace}/cups/{name}": "get put patch delete",
		"/apis/tea.example.org/v1/cups":                               "list",
	} {
		at := doc.Paths.Paths[path]
		if at == nil {
			t.Errorf("%s is not described", path)
			continue
		}
		for verb := range strings.FieldsSeq(verbs) {
			if !strings.Contains(text(t, at), `"x-kubernetes-action":"`+verb+`"`) {
				t.Errorf("%s: %s is not described", path, verb)
			}
		}
	}
	old, err := client().OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	if size := definition(old, "org.example.tea.v1.Cup", "spec", "size"); size == nil || size.Description != "how much goes in" {
		t.Errorf("in version 2 its field is described as %v", size)
	}
	if pod := definition(old, "io.k8s.api.core.v1.Pod", "spec"); pod == nil {
		t.Error("version 2 has lost the others")
	}
	with := hashes()
	for path, url := range before {
		if with[path] != url {
			t.Errorf("%s is described anew, because of another kind", path)
		}
	}

	_, err = s.Registry().Update(t.Context(), func(have []*registry.Kind) ([]*registry.Kind, error) {
		for i, k := range have {
			if k.GVK.Kind == "Cup" {
				have[i] = cupKind(t, described("in litres"))
			}
		}
		return have, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := v3(t, client(), gv).Components.Schemas["org.example.tea.v1.Cup"].Properties["spec"].Properties["size"]; got.Description != "in litres" {
		t.Errorf("after a change its field is described as %+v", got)
	}
	if code, _ := ask(t, s, "GET", with["apis/tea.example.org/v1"], "application/json", ""); code != 200 {
		t.Errorf("who asks for the description of before is not led to that of now: %d", code)
	}
	withdraw(t, s, gv.WithResource("cups"))
	if code, _ := ask(t, s, "GET", "/openapi/v3/apis/tea.example.org/v1", "application/json", ""); code != 404 {
		t.Errorf("the description of what has gone: %d", code)
	}
	if after := hashes(); text(t, after) != text(t, before) {
		t.Errorf("after it all there are %v, want %v", after, before)
	}
	if _, now := ask(t, s, "GET", "/openapi/v2", "application/json", ""); now != plain {
		t.Error("version 2 is not what it was before")
	}
}

// TestUndescribedKind: a kind whose schema is not known is described as one that may have any field.
func TestUndescribedKind(t *testing.T) {
	s := apiservertest.New(t)
	serve(t, s, cupKind(t))
	cup := v3(t, client(t, s.Config).Discovery(), schema.GroupVersion{Group: "tea.example.org", Version: "v1"}).Components.Schemas["org.example.tea.v1.Cup"]
	if cup == nil || cup.Extensions["x-kubernetes-preserve-unknown-fields"] != true {
		t.Errorf("it is described as %+v", cup)
	}
}

func v3(t *testing.T, c discovery.DiscoveryInterface, gv schema.GroupVersion) *spec3.OpenAPI {
	t.Helper()
	doc, err := openapi3.NewRoot(c.OpenAPIV3()).GVSpec(gv)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// definition finds what version 2 says of a field.
func definition(doc *openapi_v2.Document, name string, fields ...string) *openapi_v2.Schema {
	var found *openapi_v2.Schema
	for _, d := range doc.Definitions.AdditionalProperties {
		if d.Name == name {
			found = d.Value
		}
	}
	for _, field := range fields {
		var next *openapi_v2.Schema
		if found != nil && found.Properties != nil {
			for _, p := range found.Properties.AdditionalProperties {
				if p.Name == field {
					next = p.Value
				}
			}
		}
		found = next
	}
	return found
}

func text(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
