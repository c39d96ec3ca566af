package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
)

// validateResources checks what one container asks for. Requests may not exceed limits; what cannot be overcommitted
// needs a limit that equals the request.
func validateResources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	limits, requests := path.Child("limits"), path.Child("requests")
	pages, plain := false, false
	for _, name := range check.SortedKeys(r.Limits) {
		quantity := r.Limits[name]
		at := limits.Key(string(name))
		errs = append(errs, check.ContainerResourceName(name, at)...)
		errs = append(errs, check.Quantity(name, quantity, at)...)
		pages = pages || check.HugePages(name)
		plain = plain || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	for _, name := range check.SortedKeys(r.Requests) {
		quantity := r.Requests[name]
		at := requests.Key(string(name))
		errs = append(errs, check.ContainerResourceName(name, at)...)
		errs = append(errs, check.Quantity(name, quantity, at)...)
		pages = pages || check.HugePages(name)
		plain = plain || name == corev1.ResourceCPU || name == corev1.ResourceMemory
		whole := check.Extended(name) || check.HugePages(name)
		limit, limited := r.Limits[name]
		switch {
		case limited && whole && quantity.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(requests, quantity.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && quantity.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, quantity.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case !limited && whole:
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		}
	}
	if pages && !plain {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return errs
}

// ValidateLimits checks a list of resources that is all there is: the overhead of a runtime.
func ValidateLimits(limits corev1.ResourceList, path *field.Path) field.ErrorList {
	return validateResources(&corev1.ResourceRequirements{Limits: limits}, path)
}

// validatePodResources checks what the pod as a whole asks for: its own resources and its runtime's overhead.
func validatePodResources(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.Overhead != nil {
		errs = append(errs, ValidateLimits(spec.Overhead, path.Child("overhead"))...)
	}
	if spec.Resources == nil {
		return errs
	}
	at := path.Child("resources")
	errs = append(errs, validateResources(spec.Resources, at)...)
	for i, c := range spec.Containers {
		for _, name := range check.SortedKeys(c.Resources.Limits) {
			limit := c.Resources.Limits[name]
			if all, ok := spec.Resources.Limits[name]; ok && limit.Cmp(all) > 0 {
				errs = append(errs, field.Invalid(path.Child("containers").Index(i).Child("resources", "limits").Key(string(name)), limit.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", all.String())))
			}
		}
	}
	together := containerRequests(spec)
	for _, name := range check.SortedKeys(spec.Resources.Requests) {
		all, sum := spec.Resources.Requests[name], together[name]
		if sum.Cmp(all) > 0 {
			errs = append(errs, field.Invalid(at.Child("requests").Key(string(name)), all.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	for _, list := range []corev1.ResourceList{spec.Resources.Limits, spec.Resources.Requests} {
		for _, name := range check.SortedKeys(list) {
			if !podLevel(name) {
				errs = append(errs, field.NotSupported(at, name, []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceHugePagesPrefix, corev1.ResourceMemory}))
			}
		}
	}
	return errs
}

// validateClaims checks the devices that a pod claims, and that its containers name no others.
func validateClaims(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, claim := range spec.ResourceClaims {
		at := path.Child("resourceClaims").Index(i)
		if claim.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, check.DNSLabel(claim.Name, at.Child("name"))...)
		}
		if names.Has(claim.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), claim.Name))
		}
		names.Insert(claim.Name)
		switch {
		case claim.ResourceClaimName != nil && claim.ResourceClaimTemplateName != nil:
			errs = append(errs, field.Invalid(at, claim, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		case claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil:
			errs = append(errs, field.Invalid(at, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
	}
	for _, list := range []struct {
		name       string
		containers []corev1.Container
	}{{"containers", spec.Containers}, {"initContainers", spec.InitContainers}} {
		for i, c := range list.containers {
			at := path.Child(list.name).Index(i).Child("resources", "claims")
			for j, claim := range c.Resources.Claims {
				if !names.Has(claim.Name) {
					errs = append(errs, field.NotFound(at.Index(j).Child("name"), claim.Name))
				}
			}
		}
	}
	return errs
}
