package kinds

import (
	"cmp"
	"maps"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The helpers here turn functions of one concrete type into the hooks of a row, which speak of Object, so that each
// kind's own functions stay free of type assertions.

func one[T Object](f func(T)) func(Object) {
	return func(obj Object) { f(obj.(T)) }
}

func two[T Object](f func(obj, old T)) func(obj, old Object) {
	return func(obj, old Object) { f(obj.(T), old.(T)) }
}

func faults[T Object](f func(T) field.ErrorList) func(Object) field.ErrorList {
	return func(obj Object) field.ErrorList { return f(obj.(T)) }
}

func faultsOf[T Object](f func(obj, old T) field.ErrorList) func(obj, old Object) field.ErrorList {
	return func(obj, old Object) field.ErrorList { return f(obj.(T), old.(T)) }
}

func cells[T Object](f func(T) []any) func(Object) []any {
	return func(obj Object) []any { return f(obj.(T)) }
}

var metaPath = field.NewPath("metadata")

// validateMeta checks the metadata of a new object.
func validateMeta(obj Object, namespaced bool, name apivalidation.ValidateNameFunc) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessor(obj, namespaced, name, metaPath)
}

// validateMetaUpdate checks that metadata changed only where it may.
func validateMetaUpdate(obj, old metav1.Object) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, metaPath)
}

// immutable reports a changed field with the words every Kubernetes client knows.
func immutable(now, before any, path *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(now, before, path)
}

// bumpGeneration raises the generation when the wanted state changed; otherwise it is the old one, whatever the client sent.
func bumpGeneration(obj, old Object, changed bool) {
	obj.SetGeneration(old.GetGeneration())
	if changed {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

func same(a, b any) bool { return apiequality.Semantic.DeepEqual(a, b) }

// sortedKeys lets what is said of a map be said in the same order each time.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
