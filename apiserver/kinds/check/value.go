// Package check holds the rules of single fields that kinds of every group share: names, quantities, addresses, sets of allowed
// values. Each takes a value and its path and returns the faults, in the words that users of Kubernetes know. It knows no kinds.
// Start with value.go.
package check

import (
	"cmp"
	"maps"
	"slices"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Immutable reports a changed field with the words every Kubernetes client knows.
func Immutable(now, before any, path *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(now, before, path)
}

// SortedKeys lets what is said of a map be said in the same order each time.
func SortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// Invalid makes one fault of each message.
func Invalid(path *field.Path, value any, msgs []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range msgs {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

// OneOf reports a value that is absent or not among those supported; the message lists them sorted.
func OneOf[T ~string](value T, path *field.Path, supported ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return OneOfOrNone(value, path, supported...)
}

// OneOfOrNone is oneOf for a field that may be absent.
func OneOfOrNone[T ~string](value T, path *field.Path, supported ...T) field.ErrorList {
	if value == "" || slices.Contains(supported, value) {
		return nil
	}
	sorted := slices.Sorted(slices.Values(supported))
	return field.ErrorList{field.NotSupported(path, value, sorted)}
}

func Required(value string, at *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return nil
}

// What Deployments and ReplicaSets, and the workloads to come, have in common.

func NonNegative(value int64, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(value, path)
}
