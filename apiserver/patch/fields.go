// Package patch changes objects as clients ask (JSON, merge and strategic merge patches, server-side apply) and keeps the
// record of who set which field.
//
// It works on values: it reads and writes no store, and knows no HTTP. Start with Fields, then Change in patch.go.
package patch

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Fields maintains metadata.managedFields.
type Fields struct {
	registry  *registry.Registry
	converter func() (managedfields.TypeConverter, error) // of the kinds with a Go type

	mu       sync.RWMutex
	managers map[scope]*managedfields.FieldManager
	shapes   *shapes
}

// scope is what one field manager of the library serves. A row that takes another's place has managers of its own.
type scope struct {
	kind        *registry.Kind
	subresource string
}

// NewFields returns a Fields for what the registry serves, which it follows. converter makes the schema's view of objects that have a Go type; it
// is called on the first write, because it takes some milliseconds that a starting server would rather not spend.
func NewFields(of *registry.Registry, converter func() (managedfields.TypeConverter, error)) *Fields {
	f := &Fields{
		registry:  of,
		converter: sync.OnceValues(converter),
		managers:  map[scope]*managedfields.FieldManager{},
		shapes:    newShapes(),
	}
	of.Follow(f)
	return f
}

// Prepare implements registry.Follower. Managers are made when they are needed, so all there is to do is to let go of those of rows that went.
func (f *Fields) Prepare(_ context.Context, _, next *registry.Snapshot) (registry.Prepared, error) {
	return registry.Prepared{Settle: func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		maps.DeleteFunc(f.managers, func(s scope, _ *managedfields.FieldManager) bool { return !next.Has(s.kind) })
	}}, nil
}

// update lets the library do it.
func (f *Fields) update(kind *registry.Kind, subresource string, live, obj registry.Object, manager string) (registry.Object, error) {
	fields, err := f.manager(kind, subresource)
	if err != nil {
		return nil, err
	}
	// What is stored is shared and has its kind already; writing it again would be a race.
	for _, o := range []registry.Object{live, obj} {
		if o.GetObjectKind().GroupVersionKind() != kind.GVK {
			o.GetObjectKind().SetGroupVersionKind(kind.GVK)
		}
	}
	updated, err := fields.Update(live, obj, manager)
	if err != nil {
		obj.SetManagedFields(live.GetManagedFields())
		return obj, nil
	}
	return updated.(registry.Object), nil
}

// Create records a creation. The record of an object whose shape has been seen is not computed again.
func (f *Fields) Create(kind *registry.Kind, obj registry.Object, manager string) (registry.Object, error) {
	if kind.Untyped {
		return f.update(kind, "", kind.New(), obj, manager)
	}
	types, err := f.converter()
	if err != nil {
		return nil, fmt.Errorf("build the schema for field management: %w", err)
	}
	p := f.shapes.plan(kind, types)
	if p == nil || obj.GetManagedFields() != nil {
		return f.update(kind, "", kind.New(), obj, manager)
	}
	room := f.shapes.keys.Get().(*[]byte)
	defer f.shapes.keys.Put(room)
	key := appendText((*room)[:0], kind.GVK.String())
	key, judged := p.append(key, reflect.ValueOf(obj).Elem())
	*room = key
	if !judged {
		return f.update(kind, "", kind.New(), obj, manager)
	}
	if record, ok := f.shapes.find(key); ok {
		obj.GetObjectKind().SetGroupVersionKind(kind.GVK)
		obj.SetManagedFields(entry(kind, manager, record))
		return obj, nil
	}
	made, err := f.update(kind, "", kind.New(), obj, manager)
	if err != nil {
		return nil, err
	}
	switch fields := made.GetManagedFields(); len(fields) {
	case 0:
		f.shapes.remember(key, nil)
	case 1:
		f.shapes.remember(key, fields[0].FieldsV1.DeepCopy())
	}
	return made, nil
}

// entry is the record of a creation: one entry, or none for an object that sets nothing.
func entry(kind *registry.Kind, manager string, record *metav1.FieldsV1) []metav1.ManagedFieldsEntry {
	if record == nil {
		return nil
	}
	now := metav1.Time{Time: time.Now().UTC().Truncate(time.Second)}
	return []metav1.ManagedFieldsEntry{{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: kind.GVK.GroupVersion().String(),
		Time: &now, FieldsType: "FieldsV1", FieldsV1: record,
	}}
}

// Apply merges an applied configuration into live, which is an empty object when there is none yet. Conflicts are status errors.
func (f *Fields) Apply(kind *registry.Kind, subresource string, live registry.Object, config *unstructured.Unstructured, manager string, force bool) (registry.Object, error) {
	fields, err := f.manager(kind, subresource)
	if err != nil {
		return nil, err
	}
	merged, err := fields.Apply(live, config, manager, force)
	if err != nil {
		return nil, err
	}
	return merged.(registry.Object), nil
}

func (f *Fields) manager(kind *registry.Kind, subresource string) (*managedfields.FieldManager, error) {
	key := scope{kind, subresource}
	f.mu.RLock()
	found := f.managers[key]
	f.mu.RUnlock()
	if found != nil {
		return found, nil
	}
	types, err := f.types(kind)
	if err != nil {
		return nil, fmt.Errorf("build the schema for field management: %w", err)
	}
	world := objects{f.registry}
	make := managedfields.NewDefaultFieldManager
	if kind.Untyped {
		make = managedfields.NewDefaultCRDFieldManager
	}
	made, err := make(types, world, world, world, kind.GVK, kind.GVK.GroupVersion(), subresource, ignored(kind, subresource))
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.managers[key] = made
	return made, nil
}

// types returns the schema's view of the kind's objects.
func (f *Fields) types(kind *registry.Kind) (managedfields.TypeConverter, error) {
	switch {
	case !kind.Untyped:
		return f.converter()
	case kind.Types != nil:
		return kind.Types()
	}
	return managedfields.NewDeducedTypeConverter(), nil
}

// ignored are the fields that a write through this door cannot set, so that nobody is recorded as their owner: the status in
// the main resource, and everything but the status in the status subresource.
func ignored(kind *registry.Kind, subresource string) map[fieldpath.APIVersion]fieldpath.Filter {
	if kind.Subresource("status") == nil {
		return nil
	}
	version := fieldpath.APIVersion(kind.GVK.GroupVersion().String())
	set := func(paths ...fieldpath.Path) map[fieldpath.APIVersion]fieldpath.Filter {
		return map[fieldpath.APIVersion]fieldpath.Filter{version: fieldpath.NewExcludeSetFilter(fieldpath.NewSet(paths...))}
	}
	switch subresource {
	case "":
		return set(fieldpath.MakePathOrDie("status"))
	case "status":
		return set(
			fieldpath.MakePathOrDie("spec"),
			fieldpath.MakePathOrDie("metadata", "deletionTimestamp"),
			fieldpath.MakePathOrDie("metadata", "ownerReferences"),
			fieldpath.MakePathOrDie("metadata", "labels"),
		)
	default:
		return nil
	}
}

// conversionTime bounds the conversions that the library asks for.
const conversionTime = 30 * time.Second

// objects is what the library wants to know of the world: how to make, default and convert objects.
type objects struct{ registry *registry.Registry }

// New makes an empty object that knows its kind, without which the library refuses it.
func (o objects) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	kind := o.registry.Current().ByKind(gvk)
	if kind == nil {
		return nil, runtime.NewNotRegisteredErrForKind("kinds", gvk)
	}
	obj := kind.New()
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

func (o objects) untyped(gvk schema.GroupVersionKind) bool {
	kind := o.registry.Current().ByKind(gvk)
	return kind != nil && kind.Untyped
}

func (o objects) Default(obj runtime.Object) {
	kind := o.registry.Current().ByKind(obj.GetObjectKind().GroupVersionKind())
	if typed, ok := obj.(registry.Object); ok && kind != nil && kind.Default != nil {
		kind.Default(typed)
	}
}

func (o objects) Convert(_, _, _ any) error { return fmt.Errorf("convert: not supported") }

func (o objects) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// ConvertToVersion turns documents into typed objects, and one served version of a kind into another.
func (o objects) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	gvk := in.GetObjectKind().GroupVersionKind()
	wanted, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{gvk})
	if !ok {
		if gv, isVersion := target.(schema.GroupVersion); isVersion {
			wanted = gv.WithKind(gvk.Kind)
		} else {
			wanted = gvk
		}
	}
	if document, ok := in.(*unstructured.Unstructured); ok && !o.untyped(gvk) {
		obj, err := o.New(gvk)
		if err != nil {
			return nil, err
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(document.Object, obj); err != nil {
			return nil, err
		}
		in = obj
	}
	if wanted == gvk {
		return in, nil
	}
	now := o.registry.Current()
	from, to := now.ByKind(gvk), now.ByKind(wanted)
	typed, ok := in.(registry.Object)
	if from == nil || to == nil || !ok || from.StoragePrefix != to.StoragePrefix {
		return nil, runtime.NewNotRegisteredErrForKind("kinds", wanted)
	}
	// The library hands no context on. What a slow conversion may take is bounded all the same.
	ctx, cancel := context.WithTimeout(context.Background(), conversionTime)
	defer cancel()
	return Convert(ctx, from, to, typed)
}

// Convert turns an object of one served version into another of the same resource.
func Convert(ctx context.Context, from, to *registry.Kind, obj registry.Object) (registry.Object, error) {
	if from == to {
		return obj, nil
	}
	converted, err := ConvertAll(ctx, from, to, []registry.Object{obj})
	if err != nil {
		return nil, err
	}
	return converted[0], nil
}

// ConvertAll converts many objects together. Those given are not changed.
func ConvertAll(ctx context.Context, from, to *registry.Kind, objs []registry.Object) ([]registry.Object, error) {
	if from == to || len(objs) == 0 {
		return objs, nil
	}
	if from.ToStorage != nil {
		stored := make([]registry.Object, len(objs))
		for i, obj := range objs {
			var err error
			if stored[i], err = from.ToStorage(ctx, obj); err != nil {
				return nil, conversionFault(from, to, err)
			}
		}
		objs = stored
	}
	if to.FromStorage != nil {
		count := len(objs)
		var err error
		if objs, err = to.FromStorage(ctx, objs); err != nil {
			return nil, conversionFault(from, to, err)
		}
		if len(objs) != count {
			return nil, conversionFault(from, to, fmt.Errorf("%d objects were given, %d came back", count, len(objs)))
		}
	}
	for _, obj := range objs {
		obj.GetObjectKind().SetGroupVersionKind(to.GVK)
	}
	return objs, nil
}

func conversionFault(from, to *registry.Kind, err error) error {
	return fmt.Errorf("convert %s from %s to %s: %w", from.GVR().GroupResource(), from.GVK.Version, to.GVK.Version, err)
}
