// Package meta holds what the rows of every kind share: adapters that fit functions of a concrete type into a row's hooks, the
// checks of object metadata, and the columns of tables. It is not the place for the rules of single fields (package check)
// or of pods (package podspec). Start with hooks.go.
package meta

import (
	"context"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// StatusVerbs are those of every subresource that shows the parent object itself.
func StatusVerbs() []string { return []string{"get", "patch", "update"} }

// ProxyVerbs are those of every subresource that passes any request on.
func ProxyVerbs() []string { return []string{"create", "delete", "get", "patch", "update"} }

// DefaultTo sets an optional field that is absent.
func DefaultTo[T any](target **T, value T) {
	if *target == nil {
		*target = &value
	}
}

// The helpers here turn functions of one concrete type into the hooks of a row, which speak of Object, so that each
// kind's own functions stay free of type assertions.

func One[T registry.Object](f func(T)) func(registry.Object) {
	return func(obj registry.Object) { f(obj.(T)) }
}

func Two[T registry.Object](f func(obj, old T)) func(obj, old registry.Object) {
	return func(obj, old registry.Object) { f(obj.(T), old.(T)) }
}

func Faults[T registry.Object](f func(T) field.ErrorList) func(registry.Object) field.ErrorList {
	return func(obj registry.Object) field.ErrorList { return f(obj.(T)) }
}

func FaultsOf[T registry.Object](f func(obj, old T) field.ErrorList) func(obj, old registry.Object) field.ErrorList {
	return func(obj, old registry.Object) field.ErrorList { return f(obj.(T), old.(T)) }
}

// ToStorage and FromStorage fit conversions that need nothing but the object and always succeed.
func ToStorage[From, To registry.Object](convert func(From) To) func(context.Context, registry.Object) (registry.Object, error) {
	return func(_ context.Context, obj registry.Object) (registry.Object, error) { return convert(obj.(From)), nil }
}

func FromStorage[From, To registry.Object](convert func(From) To) func(context.Context, []registry.Object) ([]registry.Object, error) {
	return func(_ context.Context, objs []registry.Object) ([]registry.Object, error) {
		out := make([]registry.Object, len(objs))
		for i, obj := range objs {
			out[i] = convert(obj.(From))
		}
		return out, nil
	}
}

func Cells[T registry.Object](f func(T) []any) func(registry.Object) []any {
	return func(obj registry.Object) []any { return f(obj.(T)) }
}
