package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func validateBudget(b *policyv1.PodDisruptionBudget) field.ErrorList {
	errs := meta.Validate(b, true, apivalidation.NameIsDNSSubdomain)
	return append(errs, validateBudgetSpec(&b.Spec, field.NewPath("spec"))...)
}

func validateBudgetUpdate(b, old *policyv1.PodDisruptionBudget) field.ErrorList {
	errs := meta.ValidateUpdate(b, old)
	return append(errs, validateBudgetSpec(&b.Spec, field.NewPath("spec"))...)
}

func validateBudgetSpec(spec *policyv1.PodDisruptionBudgetSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.MinAvailable != nil && spec.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(path, *spec, "minAvailable and maxUnavailable cannot be both set"))
	}
	for name, value := range map[string]*intstr.IntOrString{"minAvailable": spec.MinAvailable, "maxUnavailable": spec.MaxUnavailable} {
		if value != nil {
			errs = append(errs, check.IntOrPercent(*value, path.Child(name))...)
			errs = append(errs, check.NotAbove100Percent(*value, path.Child(name))...)
		}
	}
	errs = append(errs, metav1validation.ValidateLabelSelector(spec.Selector, metav1validation.LabelSelectorValidationOptions{}, path.Child("selector"))...)
	if spec.UnhealthyPodEvictionPolicy == nil {
		return errs
	}
	policy := ptr.Deref(spec.UnhealthyPodEvictionPolicy, "")
	if policy != policyv1.IfHealthyBudget && policy != policyv1.AlwaysAllow {
		errs = append(errs, field.NotSupported(path.Child("unhealthyPodEvictionPolicy"), policy,
			[]policyv1.UnhealthyPodEvictionPolicyType{policyv1.AlwaysAllow, policyv1.IfHealthyBudget}))
	}
	return errs
}

func validateBudgetStatus(b, old *policyv1.PodDisruptionBudget) field.ErrorList {
	errs := meta.ValidateUpdate(b, old)
	path, s := field.NewPath("status"), &b.Status
	errs = append(errs, metav1validation.ValidateConditions(s.Conditions, path.Child("conditions"))...)
	for _, f := range []struct {
		name  string
		value int32
	}{
		{"disruptionsAllowed", s.DisruptionsAllowed}, {"currentHealthy", s.CurrentHealthy},
		{"desiredHealthy", s.DesiredHealthy}, {"expectedPods", s.ExpectedPods},
	} {
		errs = append(errs, check.NonNegative(int64(f.value), path.Child(f.name))...)
	}
	return errs
}
