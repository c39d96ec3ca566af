package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const setImmutable = "field is immutable when `immutable` is set"

func validateConfigMap(cm *corev1.ConfigMap) field.ErrorList {
	errs := validateMeta(cm, true, apivalidation.NameIsDNSSubdomain)
	size := 0
	check := func(bag, other string, key string, taken bool, length int) {
		path := field.NewPath(bag).Key(key)
		for _, msg := range validation.IsConfigMapKey(key) {
			errs = append(errs, field.Invalid(path, key, msg))
		}
		if taken {
			errs = append(errs, field.Invalid(path, key, fmt.Sprintf("duplicate of key present in %s", other)))
		}
		size += length
	}
	for _, key := range sortedKeys(cm.Data) {
		value := cm.Data[key]
		_, taken := cm.BinaryData[key]
		check("data", "binaryData", key, taken, len(value))
	}
	for _, key := range sortedKeys(cm.BinaryData) {
		value := cm.BinaryData[key]
		_, taken := cm.Data[key]
		check("binaryData", "data", key, taken, len(value))
	}
	if size > corev1.MaxSecretSize {
		// The whole object is at fault, so the path is empty.
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return errs
}

func validateConfigMapUpdate(cm, old *corev1.ConfigMap) field.ErrorList {
	errs := validateMetaUpdate(cm, old)
	if old.Immutable != nil && *old.Immutable {
		if cm.Immutable == nil || !*cm.Immutable {
			errs = append(errs, field.Forbidden(field.NewPath("immutable"), setImmutable))
		}
		if !same(cm.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), setImmutable))
		}
		if !same(cm.BinaryData, old.BinaryData) {
			errs = append(errs, field.Forbidden(field.NewPath("binaryData"), setImmutable))
		}
	}
	return append(errs, validateConfigMap(cm)...)
}

func configMapCells(cm *corev1.ConfigMap) []any {
	return []any{cm.Name, int64(len(cm.Data) + len(cm.BinaryData)), age(cm.CreationTimestamp)}
}
