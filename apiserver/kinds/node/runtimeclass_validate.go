package node

import (
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func validateRuntimeClass(c *nodev1.RuntimeClass) field.ErrorList {
	errs := meta.Validate(c, false, apivalidation.NameIsDNSSubdomain)
	if c.Handler == "" {
		errs = append(errs, field.Required(field.NewPath("handler"), ""))
	} else {
		errs = append(errs, check.Invalid(field.NewPath("handler"), c.Handler, apivalidation.NameIsDNSLabel(c.Handler, false))...)
	}
	if c.Overhead != nil {
		errs = append(errs, podspec.ValidateLimits(c.Overhead.PodFixed, field.NewPath("overhead"))...)
	}
	if c.Scheduling != nil {
		errs = append(errs, validateScheduling(c.Scheduling, field.NewPath("scheduling"))...)
	}
	return errs
}

func validateScheduling(s *nodev1.Scheduling, path *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))
	path = path.Child("tolerations")
	errs = append(errs, podspec.ValidateTolerations(s.Tolerations, path)...)
	seen := map[corev1.Toleration]bool{}
	for i, t := range s.Tolerations {
		key := corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
		if seen[key] {
			errs = append(errs, field.Duplicate(path.Index(i), t))
		}
		seen[key] = true
	}
	return errs
}

func validateRuntimeClassUpdate(c, old *nodev1.RuntimeClass) field.ErrorList {
	errs := meta.ValidateUpdate(c, old)
	errs = append(errs, validateRuntimeClass(c)...)
	return append(errs, check.Immutable(c.Handler, old.Handler, field.NewPath("handler"))...)
}

func runtimeClassWarnings(obj, _ registry.Object) []string {
	c := obj.(*nodev1.RuntimeClass)
	if c.Scheduling == nil {
		return nil
	}
	var out []string
	for _, key := range check.SortedKeys(c.Scheduling.NodeSelector) {
		if msg := check.DeprecatedNodeLabel(key); msg != "" {
			out = append(out, field.NewPath("scheduling", "nodeSelector").String()+": "+msg)
		}
	}
	return out
}
