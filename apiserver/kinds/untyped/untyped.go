// Package untyped makes rows for kinds that have no Go type: custom ones. From names, a few expressions and what a schema has to say, New makes
// a row that goes through the server as any other does. It does not read CustomResourceDefinitions, and knows no schema language: what prunes,
// fills in and validates comes in as functions. Start with Config.
package untyped

import (
	"context"
	"fmt"
	"maps"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Column is one column of the table: where in an object its value is.
type Column struct {
	metav1.TableColumnDefinition
	Path string // a JSONPath as in additionalPrinterColumns: ".spec.size"
}

// Config says what the kind is.
type Config struct {
	GVK        schema.GroupVersionKind // required
	ListKind   string                  // empty: the kind with List behind it
	Resource   string                  // required: the plural
	Singular   string
	ShortNames []string
	Categories []string
	Namespaced bool

	// StorageVersion is the version that objects are stored as; empty: this one. Convert turns objects of any version of the kind into
	// another; it is needed when there are several, must not change what it is given, and bounds its own time besides ctx's.
	StorageVersion string
	Convert        func(ctx context.Context, objs []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error)

	// Status makes status a subresource: it is then written through that alone, and changes of the rest raise the generation.
	Status bool
	// Columns besides the name; nil: the age.
	Columns []Column
	// Selectable are the fields that selectors may name, as JSONPaths: ".spec.color".
	Selectable []string

	// Schema describes the kind to clients; Prune, Default, Validate and Types are what follows from it for the server. Each may be nil. Old is nil for a
	// new object.
	Schema   *spec.Schema
	Prune    func(obj *unstructured.Unstructured) []string
	Default  func(obj *unstructured.Unstructured)
	Validate func(obj, old *unstructured.Unstructured) field.ErrorList
	Types    func() (managedfields.TypeConverter, error)
}

func (c *Config) validate() error {
	switch {
	case c.GVK.Group == "" || c.GVK.Version == "" || c.GVK.Kind == "":
		return errkind.New(errkind.Invalid, "an untyped kind needs group, version and kind, not %q", c.GVK)
	case c.Resource == "":
		return errkind.New(errkind.Invalid, "kind %s needs the name of its resource", c.GVK)
	case c.StorageVersion != "" && c.StorageVersion != c.GVK.Version && c.Convert == nil:
		return errkind.New(errkind.Invalid, "kind %s is stored as %s and cannot be converted", c.GVK, c.StorageVersion)
	}
	if c.ListKind == "" {
		c.ListKind = c.GVK.Kind + "List"
	}
	return nil
}

// New returns the row of one version of a kind.
func New(c Config) (*registry.Kind, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	columns, cells, err := table(c.Columns)
	if err != nil {
		return nil, err
	}
	fields, names, err := selectable(c.Selectable)
	if err != nil {
		return nil, err
	}
	h := hooks{c}
	k := &registry.Kind{
		GVK: c.GVK, Resource: c.Resource, Singular: c.Singular, ShortNames: c.ShortNames, Categories: c.Categories,
		Namespaced: c.Namespaced, Untyped: true, Schema: c.Schema, Types: c.Types,
		StoragePrefix:  c.GVK.Group + "/" + c.Resource,
		New:            func() registry.Object { return empty(c.GVK) },
		NewList:        func() runtime.Object { return emptyList(c.GVK.GroupVersion().WithKind(c.ListKind)) },
		PrepareCreate:  meta.One(h.prepare),
		PrepareUpdate:  meta.Two(h.prepareUpdate),
		ValidateCreate: meta.Faults(h.validate),
		ValidateUpdate: meta.FaultsOf(h.validateUpdate),
		Fields:         fields, SelectableFields: names,
		Columns: columns, Cells: meta.Cells(cells),
	}
	if c.Prune != nil {
		k.Prune = func(obj registry.Object) []string { return c.Prune(obj.(*unstructured.Unstructured)) }
	}
	if c.Default != nil {
		k.Default = meta.One(c.Default)
	}
	if c.StorageVersion != "" && c.StorageVersion != c.GVK.Version {
		h.convert(k)
	}
	if c.Status {
		k.Subresources = append(k.Subresources, registry.Subresource{
			Name: "status", Verbs: meta.StatusVerbs(),
			PrepareUpdate: meta.Two(h.prepareStatus), ValidateUpdate: meta.FaultsOf(h.validateUpdate),
		})
	}
	return k, nil
}

func empty(gvk schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u
}

func emptyList(gvk schema.GroupVersionKind) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk)
	return list
}

// hooks are the row's functions.
type hooks struct{ Config }

func (h hooks) prepare(obj *unstructured.Unstructured) {
	if h.Status {
		delete(obj.Object, "status")
	}
	obj.SetGeneration(1)
}

// prepareUpdate restores the status where it has a door of its own. Whatever else is not metadata counts as the wish.
func (h hooks) prepareUpdate(obj, old *unstructured.Unstructured) {
	if h.Status {
		keep(obj, old, "status")
	}
	meta.BumpGeneration(obj, old, !apiequality.Semantic.DeepEqual(h.wish(obj), h.wish(old)))
}

func (h hooks) wish(obj *unstructured.Unstructured) map[string]any {
	rest := maps.Clone(obj.Object)
	delete(rest, "metadata")
	if h.Status {
		delete(rest, "status")
	}
	return rest
}

// prepareStatus lets a status write touch the status alone. Who set which field is kept up to date all the same.
func (h hooks) prepareStatus(obj, old *unstructured.Unstructured) {
	status, has := obj.Object["status"]
	version, fields := obj.GetResourceVersion(), obj.GetManagedFields()
	obj.Object = old.DeepCopy().Object
	obj.SetResourceVersion(version)
	obj.SetManagedFields(fields)
	if has {
		obj.Object["status"] = status
	} else {
		delete(obj.Object, "status")
	}
}

func keep(obj, old *unstructured.Unstructured, name string) {
	if was, ok := old.Object[name]; ok {
		obj.Object[name] = runtime.DeepCopyJSONValue(was)
		return
	}
	delete(obj.Object, name)
}

func (h hooks) validate(obj *unstructured.Unstructured) field.ErrorList {
	errs := meta.Validate(obj, h.Namespaced, apivalidation.NameIsDNSSubdomain)
	if h.Validate != nil {
		errs = append(errs, h.Validate(obj, nil)...)
	}
	return errs
}

func (h hooks) validateUpdate(obj, old *unstructured.Unstructured) field.ErrorList {
	errs := meta.ValidateUpdate(obj, old)
	if h.Validate != nil {
		errs = append(errs, h.Validate(obj, old)...)
	}
	return errs
}

// convert gives the row its way from and to the storage version.
func (h hooks) convert(k *registry.Kind) {
	stored := schema.GroupVersion{Group: h.GVK.Group, Version: h.StorageVersion}
	k.StorageVersion = stored.WithKind(h.GVK.Kind)
	k.ToStorage = func(ctx context.Context, obj registry.Object) (registry.Object, error) {
		out, err := h.converted(ctx, []registry.Object{obj}, stored)
		if err != nil {
			return nil, err
		}
		return out[0], nil
	}
	k.FromStorage = func(ctx context.Context, objs []registry.Object) ([]registry.Object, error) {
		return h.converted(ctx, objs, h.GVK.GroupVersion())
	}
}

func (h hooks) converted(ctx context.Context, objs []registry.Object, to schema.GroupVersion) ([]registry.Object, error) {
	in := make([]*unstructured.Unstructured, len(objs))
	for i, obj := range objs {
		in[i] = obj.(*unstructured.Unstructured)
	}
	out, err := h.Convert(ctx, in, to)
	if err != nil {
		return nil, err
	}
	if len(out) != len(in) {
		return nil, fmt.Errorf("%d objects were given to the conversion, %d came back", len(in), len(out))
	}
	back := make([]registry.Object, len(out))
	for i, u := range out {
		// Names and identities are not the converter's to change.
		if u.GetName() != in[i].GetName() || u.GetNamespace() != in[i].GetNamespace() || u.GetUID() != in[i].GetUID() {
			return nil, fmt.Errorf("the conversion changed name, namespace or uid of %s/%s", in[i].GetNamespace(), in[i].GetName())
		}
		back[i] = u
	}
	return back, nil
}
