package storage

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

const (
	maxParameters     = 512       // number of them
	maxParameterBytes = 256 << 10 // of all keys and values together
)

func validateStorageClass(c *storagev1.StorageClass) field.ErrorList {
	errs := meta.Validate(c, false, apivalidation.NameIsDNSSubdomain)
	if c.Provisioner == "" {
		errs = append(errs, field.Required(field.NewPath("provisioner"), ""))
	} else {
		errs = append(errs, check.QualifiedName(strings.ToLower(c.Provisioner), field.NewPath("provisioner"))...)
	}
	errs = append(errs, validateParameters(c.Parameters, field.NewPath("parameters"))...)
	errs = append(errs, check.OneOfOrNone(ptr.Deref(c.ReclaimPolicy, ""), field.NewPath("reclaimPolicy"),
		corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	errs = append(errs, check.OneOf(ptr.Deref(c.VolumeBindingMode, ""), field.NewPath("volumeBindingMode"),
		storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	return append(errs, validateTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
}

func validateStorageClassUpdate(c, old *storagev1.StorageClass) field.ErrorList {
	errs := meta.ValidateUpdate(c, old)
	errs = append(errs, validateStorageClass(c)...)
	for _, f := range []struct {
		name        string
		now, before any
	}{
		{"parameters", c.Parameters, old.Parameters}, {"provisioner", c.Provisioner, old.Provisioner},
		{"reclaimPolicy", c.ReclaimPolicy, old.ReclaimPolicy}, {"volumeBindingMode", c.VolumeBindingMode, old.VolumeBindingMode},
	} {
		errs = append(errs, check.Immutable(f.now, f.before, field.NewPath(f.name))...)
	}
	return errs
}

func validateParameters(parameters map[string]string, path *field.Path) field.ErrorList {
	if len(parameters) > maxParameters {
		return field.ErrorList{field.TooLong(path, "", maxParameters)}
	}
	var errs field.ErrorList
	size := 0
	for key, value := range parameters {
		if key == "" {
			errs = append(errs, field.Invalid(path, key, "field can not be empty."))
		}
		size += len(key) + len(value)
	}
	if size > maxParameterBytes {
		errs = append(errs, field.TooLong(path, "", maxParameterBytes))
	}
	return errs
}

// validateTopologies holds each term to distinct keys, and the terms to be distinct.
func validateTopologies(terms []corev1.TopologySelectorTerm, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	var before []map[string]sets.Set[string]
	for i := range terms {
		term, faults := validateTopologyTerm(&terms[i], path.Index(i).Child("matchLabelExpressions"))
		errs = append(errs, faults...)
		if slices.ContainsFunc(before, func(other map[string]sets.Set[string]) bool { return meta.Same(term, other) }) {
			errs = append(errs, field.Duplicate(path.Index(i).Child("matchLabelExpressions"), ""))
		}
		before = append(before, term)
	}
	return errs
}

func validateTopologyTerm(term *corev1.TopologySelectorTerm, path *field.Path) (map[string]sets.Set[string], field.ErrorList) {
	var errs field.ErrorList
	out := map[string]sets.Set[string]{}
	for i, e := range term.MatchLabelExpressions {
		at := path.Index(i)
		values := sets.New[string]()
		if len(e.Values) == 0 {
			errs = append(errs, field.Required(at.Child("values"), ""))
		}
		for j, value := range e.Values {
			if values.Has(value) {
				errs = append(errs, field.Duplicate(at.Child("values").Index(j), value))
			}
			values.Insert(value)
		}
		errs = append(errs, metav1validation.ValidateLabelName(e.Key, at.Child("key"))...)
		if _, twice := out[e.Key]; twice {
			errs = append(errs, field.Duplicate(at.Child("key"), e.Key))
		}
		out[e.Key] = values
	}
	return out, errs
}

func storageClassWarnings(obj, _ registry.Object) []string {
	var out []string
	for i, term := range obj.(*storagev1.StorageClass).AllowedTopologies {
		for j, e := range term.MatchLabelExpressions {
			if msg := check.DeprecatedNodeLabel(e.Key); msg != "" {
				out = append(out, fmt.Sprintf("%s: %s", field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key"), msg))
			}
		}
	}
	return out
}
