package document

import (
	"maps"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// custom stands for an object without a Go type where the builders want a sample.
type custom struct{ name string }

// OpenAPICanonicalTypeName says by which definition it is described.
func (c custom) OpenAPICanonicalTypeName() string { return c.name }

// sample is the type of a kind's objects by value, as the builders want it.
func sample(kind *registry.Kind) any {
	if kind.Untyped {
		return custom{customName(kind.GVK)}
	}
	return valueOf(kind.New())
}

// listSample is the same of its lists.
func listSample(kind *registry.Kind) any {
	if kind.Untyped {
		return custom{customName(listKind(kind))}
	}
	return valueOf(kind.NewList())
}

func valueOf(obj runtime.Object) any { return reflect.ValueOf(obj).Elem().Interface() }

// listKind is the kind of the lists of an untyped kind.
func listKind(kind *registry.Kind) schema.GroupVersionKind {
	return kind.NewList().GetObjectKind().GroupVersionKind()
}

// customName is what the definition of a kind without a Go type is called: "org.example.v1.Tea".
func customName(gvk schema.GroupVersionKind) string {
	return util.ToRESTFriendlyName(gvk.GroupVersion().String() + "." + gvk.Kind)
}

// customDefinition is the kind's own schema, with what every object has. Without a schema, an object may have any field.
func customDefinition(kind *registry.Kind, ref common.ReferenceCallback, v2 bool) common.OpenAPIDefinition {
	own := spec.Schema{}
	if kind.Schema != nil {
		own = *kind.Schema
	} else {
		own.VendorExtensible.AddExtension("x-kubernetes-preserve-unknown-fields", true)
	}
	if v2 {
		own = plainer(own)
	}
	own.Type = spec.StringOrArray{"object"}
	own.Properties = maps.Clone(own.Properties)
	if own.Properties == nil {
		own.Properties = map[string]spec.Schema{}
	}
	meta := metav1.ObjectMeta{}.OpenAPIModelName()
	addIdentity(own.Properties)
	own.Properties["metadata"] = *spec.RefSchema(reference(ref, meta)).WithDescription("Standard object's metadata.")
	return common.OpenAPIDefinition{Schema: own, Dependencies: []string{meta}}
}

func customList(kind *registry.Kind, ref common.ReferenceCallback) common.OpenAPIDefinition {
	meta := metav1.ListMeta{}.OpenAPIModelName()
	properties := map[string]spec.Schema{
		"metadata": *spec.RefSchema(reference(ref, meta)).WithDescription("Standard list metadata."),
		"items":    *spec.ArrayProperty(spec.RefSchema(reference(ref, customName(kind.GVK)))).WithDescription("List of " + kind.Resource + "."),
	}
	addIdentity(properties)
	list := spec.Schema{SchemaProps: spec.SchemaProps{Description: listKind(kind).Kind + " is a list of " + kind.GVK.Kind, Type: []string{"object"},
		Properties: properties, Required: []string{"items"}}}
	return common.OpenAPIDefinition{Schema: list, Dependencies: []string{meta, customName(kind.GVK)}}
}

func reference(ref common.ReferenceCallback, name string) string {
	r := ref(name)
	return r.String()
}

// addIdentity describes the two fields by which an object says what it is, in the words of the built-in kinds.
func addIdentity(properties map[string]spec.Schema) {
	docs := metav1.TypeMeta{}.SwaggerDoc()
	for _, name := range []string{"apiVersion", "kind"} {
		properties[name] = *spec.StringProperty().WithDescription(docs[name])
	}
}

// plainer leaves out what version 2 of OpenAPI cannot say, at every depth. What is left allows more, never less.
func plainer(s spec.Schema) spec.Schema {
	s.Nullable, s.AllOf, s.AnyOf, s.OneOf, s.Not = false, nil, nil, nil, nil
	s.Properties = maps.Clone(s.Properties)
	for _, name := range slices.Collect(maps.Keys(s.Properties)) {
		s.Properties[name] = plainer(s.Properties[name])
	}
	if s.Items != nil && s.Items.Schema != nil {
		items := plainer(*s.Items.Schema)
		s.Items = &spec.SchemaOrArray{Schema: &items}
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		more := plainer(*s.AdditionalProperties.Schema)
		s.AdditionalProperties = &spec.SchemaOrBool{Allows: true, Schema: &more}
	}
	return s
}
