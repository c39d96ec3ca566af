package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/schemaconv"

	"github.com/cuppa-project/cuppa/apiserver/openapi"
	"github.com/cuppa-project/cuppa/apiserver/openapi/document"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// build makes every file that the server embeds, by name.
func build(table *registry.Snapshot) (map[string][]byte, error) {
	b := &docs{table: table, files: map[string][]byte{}}
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
	files map[string][]byte
	index openapi.Index
}

func (b *docs) v3(gv schema.GroupVersion) error {
	doc, err := document.V3(gv, b.table.In(gv))
	if err != nil {
		return err
	}
	path := strings.TrimPrefix(document.Root(gv), "/")
	b.add(openapi.Document{Path: path, File: "v3_" + strings.ReplaceAll(path, "/", "_")}, doc)
	return nil
}

func (b *docs) v2() error {
	doc, err := document.V2(b.table)
	if err != nil {
		return err
	}
	b.add(openapi.Document{File: "v2"}, doc)
	return nil
}

// add keeps a document in both forms.
func (b *docs) add(doc openapi.Document, content document.Document) {
	doc.Hash = openapi.HashOf(content)
	b.files[doc.File+".json.gz"] = zip(content.JSON)
	b.files[doc.File+".pb.gz"] = zip(content.Protobuf)
	if doc.Path == "" {
		b.index.V2 = doc
	} else {
		b.index.V3 = append(b.index.V3, doc)
	}
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
	models, err := builder3.BuildOpenAPIDefinitionsForResources(document.Config3(nil), names...)
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
