package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

const setImmutable = "field is immutable when `immutable` is set"

func validateConfigMap(cm *corev1.ConfigMap) field.ErrorList {
	errs := meta.Validate(cm, true, apivalidation.NameIsDNSSubdomain)
	size := 0
	judge := func(bag, other string, key string, taken bool, length int) {
		path := field.NewPath(bag).Key(key)
		for _, msg := range validation.IsConfigMapKey(key) {
			errs = append(errs, field.Invalid(path, key, msg))
		}
		if taken {
			errs = append(errs, field.Invalid(path, key, fmt.Sprintf("duplicate of key present in %s", other)))
		}
		size += length
	}
	for _, key := range check.SortedKeys(cm.Data) {
		value := cm.Data[key]
		_, taken := cm.BinaryData[key]
		judge("data", "binaryData", key, taken, len(value))
	}
	for _, key := range check.SortedKeys(cm.BinaryData) {
		value := cm.BinaryData[key]
		_, taken := cm.Data[key]
		judge("binaryData", "data", key, taken, len(value))
	}
	if size > corev1.MaxSecretSize {
		// The whole object is at fault, so the path is empty.
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return errs
}

func validateConfigMapUpdate(cm, old *corev1.ConfigMap) field.ErrorList {
	errs := meta.ValidateUpdate(cm, old)
	if old.Immutable != nil && *old.Immutable {
		if cm.Immutable == nil || !*cm.Immutable {
			errs = append(errs, field.Forbidden(field.NewPath("immutable"), setImmutable))
		}
		if !meta.Same(cm.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), setImmutable))
		}
		if !meta.Same(cm.BinaryData, old.BinaryData) {
			errs = append(errs, field.Forbidden(field.NewPath("binaryData"), setImmutable))
		}
	}
	return append(errs, validateConfigMap(cm)...)
}
