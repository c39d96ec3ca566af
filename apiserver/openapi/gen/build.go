package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/google/gnostic-models/openapiv2"
	"github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/cuppa-project/cuppa/apiserver/openapi"
	"github.com/cuppa-project/cuppa/apiserver/openapi/definitions"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// build makes every file that the server embeds, by name.
func build(table *registry.Snapshot) (map[string][]byte, error) {
	b := &docs{table: table, names: definitionNames(clientscheme.Scheme), files: map[string][]byte{}}
	for _, gv := range table.GroupVersions() {
		if err := b.v3(gv); err != nil {
			return nil, fmt.Errorf("build v3 document of %s: %w", gv, err)
		}
	}
	if err := b.v2(); err != nil {
		return nil, fmt.Errorf("build v2 document: %w", err)
	}
	if err := b.schema(); err != nil {
		return nil, fmt.Errorf("build schema: %w", err)
	}
	index, err := json.MarshalIndent(b.index, "", "  ")
	if err != nil {
		return nil, err
	}
	b.files[openapi.IndexFile] = append(index, '\n')
	return b.files, nil
}

type docs struct {
	table *registry.Snapshot
	names map[string][]any // x-kubernetes-group-version-kind of each definition
	files map[string][]byte
	index openapi.Index
}

// definitionNames says which kinds each definition is, as clients look schemas up by kind.
func definitionNames(scheme *runtime.Scheme) map[string][]any {
	sorted := make([]schema.GroupVersionKind, 0, len(scheme.AllKnownTypes()))
	for gvk := range scheme.AllKnownTypes() {
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
	names := map[string][]any{}
	for _, gvk := range sorted {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		if name, err := scheme.ToOpenAPIDefinitionName(gvk); err == nil {
			names[name] = append(names[name], map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind})
		}
	}
	return names
}

func (b *docs) definitionName(name string) (string, spec.Extensions) {
	if gvks, ok := b.names[name]; ok {
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
	return &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: openapi.APIVersion}}
}

func (b *docs) config3() *common.OpenAPIV3Config {
	return &common.OpenAPIV3Config{
		Info:                           info(),
		GetDefinitions:                 definitions.GetOpenAPIDefinitions,
		GetDefinitionName:              b.definitionName,
		GetOperationIDAndTagsFromRoute: operation,
	}
}

func (b *docs) v3(gv schema.GroupVersion) error {
	routes := newPaths(gv).of(b.table.In(gv))
	doc, err := builder3.BuildOpenAPISpecFromRoutes([]common.RouteContainer{container(routes)}, b.config3())
	if err != nil {
		return err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	parsed, err := openapi_v3.ParseDocument(text)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	path := strings.TrimPrefix(root(gv), "/")
	return b.add(openapi.Document{Path: path, File: "v3_" + strings.ReplaceAll(path, "/", "_")}, text, parsed)
}

func (b *docs) v2() error {
	var all container
	for _, gv := range b.table.GroupVersions() {
		all = append(all, newPaths(gv).of(b.table.In(gv))...)
	}
	doc, err := builder.BuildOpenAPISpecFromRoutes([]common.RouteContainer{all}, &common.Config{
		ProtocolList:                   []string{"https"},
		Info:                           info(),
		GetDefinitions:                 definitions.GetOpenAPIDefinitions,
		GetDefinitionName:              b.definitionName,
		GetOperationIDAndTagsFromRoute: operation,
	})
	if err != nil {
		return err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	parsed, err := openapi_v2.ParseDocument(text)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	return b.add(openapi.Document{File: "v2"}, text, parsed)
}

// add keeps a document in both forms. Its hash is that of the JSON form; the protobuf form of the same document shares it.
func (b *docs) add(doc openapi.Document, text []byte, parsed proto.Message) error {
	binary, err := proto.MarshalOptions{Deterministic: true}.Marshal(parsed)
	if err != nil {
		return fmt.Errorf("encode as protobuf: %w", err)
	}
	doc.Hash = fmt.Sprintf("%X", sha512.Sum512(text))
	b.files[doc.File+".json.gz"] = zip(text)
	b.files[doc.File+".pb.gz"] = zip(binary)
	if doc.Path == "" {
		b.index.V2 = doc
	} else {
		b.index.V3 = append(b.index.V3, doc)
	}
	return nil
}

func zip(content []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is a valid one
	w.Write(content)                                        // a buffer takes every write
	w.Close()
	return out.Bytes()
}

// schema makes what server-side apply merges by: the types of every served kind, and of what its subresources carry.
func (b *docs) schema() error {
	wanted := map[string][]schema.GroupVersionKind{}
	want := func(gvk schema.GroupVersionKind) error {
		name, err := clientscheme.Scheme.ToOpenAPIDefinitionName(gvk)
		if err != nil {
			return err
		}
		for _, known := range wanted[name] {
			if known == gvk {
				return nil
			}
		}
		wanted[name] = append(wanted[name], gvk)
		return nil
	}
	for _, kind := range b.table.Kinds() {
		if err := want(kind.GVK); err != nil {
			return err
		}
		for _, sub := range kind.Subresources {
			if sub.GVK.Kind != "" && sub.Stream == "" {
				if err := want(sub.GVK); err != nil {
					return err
				}
			}
		}
	}
	var names []string
	for name := range wanted {
		names = append(names, name)
	}
	sort.Strings(names)
	models, err := builder3.BuildOpenAPIDefinitionsForResources(b.config3(), names...)
	if err != nil {
		return err
	}
	converted, err := schemaconv.ToSchemaFromOpenAPI(models, false)
	if err != nil {
		return err
	}
	text, err := json.Marshal(openapi.NewSchema(converted.Types, wanted))
	if err != nil {
		return err
	}
	b.files[openapi.SchemaFile] = zip(text)
	return nil
}
