package openapi

import (
	"encoding/json"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// TypeConverter returns what the field managers of server-side apply need to see objects as typed values. It is made from
// the embedded schema on the first call; later calls share it.
func TypeConverter() (managedfields.TypeConverter, error) { return sharedConverter() }

var sharedConverter = sync.OnceValues(newConverter)

type converter struct {
	types map[schema.GroupVersionKind]*typed.ParseableType
}

func newConverter() (managedfields.TypeConverter, error) {
	content, err := blobs.ReadFile("blobs/" + SchemaFile)
	if err == nil {
		content, err = unzip(content)
	}
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	var known Schema
	if err := json.Unmarshal(content, &known); err != nil {
		return nil, fmt.Errorf("parse schema: %w", err)
	}
	parser := typed.Parser{Schema: smd.Schema{Types: known.merge()}}
	c := &converter{types: map[schema.GroupVersionKind]*typed.ParseableType{}}
	for name, gvks := range known.Kinds {
		parseable := parser.Type(name)
		for _, gvk := range gvks {
			c.types[gvk] = &parseable
		}
	}
	return c, nil
}

func (c *converter) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	parseable := c.types[gvk]
	if parseable == nil {
		return nil, fmt.Errorf("no corresponding type for %v", gvk)
	}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return parseable.FromUnstructured(u.UnstructuredContent(), opts...)
	}
	return parseable.FromStructured(obj, opts...)
}

func (c *converter) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	content, ok := value.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("convert typed value: it is no object but %T", value.AsValue().Unstructured())
	}
	return &unstructured.Unstructured{Object: content}, nil
}
