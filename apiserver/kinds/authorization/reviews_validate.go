package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

var spec = field.NewPath("spec")

func validateSubjectAccess(r *authorizationv1.SubjectAccessReview) field.ErrorList {
	return append(validateSpec(r.Spec), bare(r.ObjectMeta, "")...)
}

func validateLocalAccess(r *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	errs := append(validateSpec(r.Spec), bare(r.ObjectMeta, r.Namespace)...)
	if a := r.Spec.ResourceAttributes; a != nil && a.Namespace != r.Namespace {
		errs = append(errs, field.Invalid(spec.Child("resourceAttributes", "namespace"), a.Namespace, "must match metadata.namespace"))
	}
	if r.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(spec.Child("nonResourceAttributes"), r.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	return errs
}

func validateSelfAccess(r *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
	return append(validateAttributes(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes), bare(r.ObjectMeta, "")...)
}

func validateRules(r *authorizationv1.SelfSubjectRulesReview) field.ErrorList {
	if r.Spec.Namespace == "" {
		return field.ErrorList{field.Required(spec.Child("namespace"), "rules are asked for in one namespace")}
	}
	return nil
}

func validateSpec(s authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := validateAttributes(s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(spec.Child("user"), s.User, "at least one of user or group must be specified"))
	}
	return errs
}

func validateAttributes(resource *authorizationv1.ResourceAttributes, other *authorizationv1.NonResourceAttributes) field.ErrorList {
	switch {
	case resource != nil && other != nil:
		return field.ErrorList{field.Invalid(spec.Child("nonResourceAttributes"), other, "cannot be specified in combination with resourceAttributes")}
	case resource == nil && other == nil:
		return field.ErrorList{field.Invalid(spec.Child("resourceAttributes"), other, "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	}
	return nil
}

// bare says that a question has no metadata: nothing is stored under it.
func bare(m metav1.ObjectMeta, namespace string) field.ErrorList {
	m.ManagedFields = nil
	if meta.Same(m, metav1.ObjectMeta{Namespace: namespace}) {
		return nil
	}
	detail := "must be empty"
	if namespace != "" {
		detail = "must be empty except for namespace"
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), m, detail)}
}
