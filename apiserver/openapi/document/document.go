// Package document makes OpenAPI documents of rows of the registry: which paths and operations a kind has, and what its objects look like.
//
// Those of the built-in kinds are made beforehand (see ../gen); those of kinds that come later, when somebody asks. Start with V3 and V2; routes.go
// says which paths and operations there are, custom.go what a kind without a Go type looks like.
package document

import (
	"encoding/json"
	"fmt"
	"sort"

	"github.com/google/gnostic-models/openapiv2"
	"github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/cuppa-project/cuppa/apiserver/openapi/definitions"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// APIVersion is the version of Kubernetes whose API is served.
const APIVersion = "v1.37.2"

// Document is one description in its two forms.
type Document struct {
	JSON     []byte
	Protobuf []byte
}

// V3 describes one group and version, of which rows are all. It takes some tens of milliseconds.
func V3(gv schema.GroupVersion, rows []*registry.Kind) (Document, error) {
	doc, err := builder3.BuildOpenAPISpecFromRoutes([]common.RouteContainer{container(newPaths(gv).of(rows))}, Config3(rows))
	if err != nil {
		return Document{}, fmt.Errorf("describe %s: %w", gv, err)
	}
	return inBothForms(doc, func(text []byte) (proto.Message, error) { return openapi_v3.ParseDocument(text) })
}

// V2 describes everything that is served. It takes about a second.
func V2(table *registry.Snapshot) (Document, error) {
	var all container
	for _, gv := range table.GroupVersions() {
		all = append(all, newPaths(gv).of(table.In(gv))...)
	}
	names := namesOf(table.Kinds())
	doc, err := builder.BuildOpenAPISpecFromRoutes([]common.RouteContainer{all}, &common.Config{
		ProtocolList:                   []string{"https"},
		Info:                           info(),
		GetDefinitions:                 withCustom(table.Kinds(), true),
		GetDefinitionName:              names.definition,
		GetOperationIDAndTagsFromRoute: operation,
	})
	if err != nil {
		return Document{}, fmt.Errorf("describe everything: %w", err)
	}
	return inBothForms(doc, func(text []byte) (proto.Message, error) { return openapi_v2.ParseDocument(text) })
}

func inBothForms(doc any, parse func([]byte) (proto.Message, error)) (out Document, err error) {
	if out.JSON, err = json.Marshal(doc); err != nil {
		return Document{}, err
	}
	parsed, err := parse(out.JSON)
	if err != nil {
		return Document{}, fmt.Errorf("parse: %w", err)
	}
	if out.Protobuf, err = (proto.MarshalOptions{Deterministic: true}).Marshal(parsed); err != nil {
		return Document{}, fmt.Errorf("encode as protobuf: %w", err)
	}
	return out, nil
}

// Config3 is how the library is told of the definitions, with those of the rows among them that have no Go type.
func Config3(rows []*registry.Kind) *common.OpenAPIV3Config {
	return &common.OpenAPIV3Config{
		Info:                           info(),
		GetDefinitions:                 withCustom(rows, false),
		GetDefinitionName:              namesOf(rows).definition,
		GetOperationIDAndTagsFromRoute: operation,
	}
}

// names are the kinds that each definition is, as clients look schemas up by kind.
type names map[string][]any

func namesOf(rows []*registry.Kind) names {
	types := clientscheme.Scheme.AllKnownTypes()
	sorted := make([]schema.GroupVersionKind, 0, len(types))
	for gvk := range types {
		sorted = append(sorted, gvk)
	}
	sort.Slice(sorted, func(i, j int) bool {
		a, b := sorted[i], sorted[j]
		if a.Group != b.Group {
			return a.Group < b.Group
		}
		if a.Version != b.Version {
			return a.Version < b.Version
		}
		return a.Kind < b.Kind
	})
	out := names{}
	for _, gvk := range sorted {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		if name, err := clientscheme.Scheme.ToOpenAPIDefinitionName(gvk); err == nil {
			out.add(name, gvk)
		}
	}
	for _, kind := range rows {
		if kind.Untyped {
			out.add(customName(kind.GVK), kind.GVK)
			if kind.NewList != nil {
				out.add(customName(listKind(kind)), listKind(kind))
			}
		}
	}
	return out
}

func (n names) add(name string, gvk schema.GroupVersionKind) {
	n[name] = append(n[name], map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind})
}

func (n names) definition(name string) (string, spec.Extensions) {
	if gvks, ok := n[name]; ok {
		return name, spec.Extensions{"x-kubernetes-group-version-kind": gvks}
	}
	return name, nil
}

// container is a set of routes in the builders' terms.
type container []common.Route

func (c container) RootPath() string                   { return "/" }
func (c container) PathParameters() []common.Parameter { return nil }
func (c container) Routes() []common.Route             { return c }

func operation(r common.Route) (string, []string, error) {
	return r.OperationName(), []string{r.(*route).tag}, nil
}

func info() *spec.Info {
	return &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: APIVersion}}
}

// withCustom adds the definitions of kinds without a Go type to those of the API. Version 2 of OpenAPI knows less of what a schema may say.
func withCustom(rows []*registry.Kind, v2 bool) common.GetOpenAPIDefinitions {
	return func(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		out := definitions.GetOpenAPIDefinitions(ref)
		for _, kind := range rows {
			if kind.Untyped {
				out[customName(kind.GVK)] = customDefinition(kind, ref, v2)
				if kind.NewList != nil {
					out[customName(listKind(kind))] = customList(kind, ref)
				}
			}
		}
		return out
	}
}
