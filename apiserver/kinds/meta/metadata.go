package meta

import (
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

var MetaPath = field.NewPath("metadata")

// Validate checks the metadata of a new object.
func Validate(obj registry.Object, namespaced bool, name apivalidation.ValidateNameFunc) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessor(obj, namespaced, name, MetaPath)
}

// ValidateUpdate checks that metadata changed only where it may.
func ValidateUpdate(obj, old metav1.Object) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, MetaPath)
}

// BumpGeneration raises the generation when the wanted state changed; otherwise it is the old one, whatever the client sent.
func BumpGeneration(obj, old registry.Object, changed bool) {
	obj.SetGeneration(old.GetGeneration())
	if changed {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

func Same(a, b any) bool { return apiequality.Semantic.DeepEqual(a, b) }

// WithFields adds the two fields that every kind's selectors know.
func WithFields(obj registry.Object, set fields.Set) fields.Set {
	set["metadata.name"] = obj.GetName()
	if ns := obj.GetNamespace(); ns != "" {
		set["metadata.namespace"] = ns
	}
	return set
}
