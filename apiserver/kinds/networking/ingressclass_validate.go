package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

const maxControllerName = 250

func validateIngressClass(c *networkingv1.IngressClass) field.ErrorList {
	errs := meta.Validate(c, false, apivalidation.NameIsDNSSubdomain)
	path := field.NewPath("spec")
	if len(c.Spec.Controller) > maxControllerName {
		errs = append(errs, field.TooLong(path.Child("controller"), "", maxControllerName))
	}
	errs = append(errs, validation.IsDomainPrefixedPath(path.Child("controller"), c.Spec.Controller)...)
	if c.Spec.Parameters != nil {
		errs = append(errs, validateParameters(c.Spec.Parameters, path.Child("parameters"))...)
	}
	return errs
}

func validateIngressClassUpdate(c, old *networkingv1.IngressClass) field.ErrorList {
	errs := meta.ValidateUpdate(c, old)
	errs = append(errs, check.Immutable(c.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller"))...)
	return append(errs, validateIngressClass(c)...)
}

func validateParameters(p *networkingv1.IngressClassParametersReference, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.APIGroup != nil {
		errs = append(errs, check.Invalid(path.Child("apiGroup"), *p.APIGroup, validation.IsDNS1123Subdomain(*p.APIGroup))...)
	}
	errs = append(errs, segment(p.Kind, path.Child("kind"))...)
	errs = append(errs, segment(p.Name, path.Child("name"))...)
	switch scope := ptr.Deref(p.Scope, ""); scope {
	case networkingv1.IngressClassParametersReferenceScopeNamespace:
		if ptr.Deref(p.Namespace, "") == "" {
			return append(errs, field.Required(path.Child("namespace"), "`parameters.scope` is set to 'Namespace'"))
		}
		return append(errs, check.Invalid(path.Child("namespace"), *p.Namespace, apivalidation.ValidateNamespaceName(*p.Namespace, false))...)
	case networkingv1.IngressClassParametersReferenceScopeCluster:
		if p.Namespace != nil {
			errs = append(errs, field.Forbidden(path.Child("namespace"), "`parameters.scope` is set to 'Cluster'"))
		}
		return errs
	default:
		return append(errs, check.OneOf(scope, path.Child("scope"), networkingv1.IngressClassParametersReferenceScopeCluster,
			networkingv1.IngressClassParametersReferenceScopeNamespace)...)
	}
}

// segment is a name that can be a part of a path.
func segment(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return check.Invalid(path, name, content.IsPathSegmentName(name))
}
