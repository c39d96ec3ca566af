package kinds

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// plainResources are the resource names that need no domain, on a node or in a quota.
var plainResources = sets.New(corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourcePods,
	corev1.ResourceStorage)

func hugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// native is true for the names that Kubernetes itself owns.
func native(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// extended is true for the countable resources that devices and administrators add.
func extended(name corev1.ResourceName) bool {
	if native(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

func validateResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := qualifiedName(string(name), path)
	if len(errs) == 0 && !strings.Contains(string(name), "/") && !plainResources.Has(name) && !hugePages(name) {
		errs = append(errs, field.Invalid(path, name, "must be a standard resource type or fully qualified"))
	}
	return errs
}

func validateContainerResourceName(name corev1.ResourceName, path *field.Path) field.ErrorList {
	errs := validateResourceName(name, path)
	switch {
	case !strings.Contains(string(name), "/"):
		if name != corev1.ResourceCPU && name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage && !hugePages(name) {
			errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
		}
	case !native(name) && !extended(name):
		errs = append(errs, field.Invalid(path, name, "doesn't follow extended resource name standard"))
	}
	return errs
}

func validateQuantity(name corev1.ResourceName, value resource.Quantity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if value.Sign() < 0 {
		errs = append(errs, field.Invalid(path, value.String(), "must be greater than or equal to 0"))
	}
	if (extended(name) || name == corev1.ResourcePods) && value.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, value, "must be an integer"))
	}
	return errs
}

// validateResources checks what one container asks for. Requests may not exceed limits; what cannot be overcommitted
// needs a limit that equals the request.
func validateResources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	limits, requests := path.Child("limits"), path.Child("requests")
	pages, plain := false, false
	for _, name := range sortedKeys(r.Limits) {
		quantity := r.Limits[name]
		at := limits.Key(string(name))
		errs = append(errs, validateContainerResourceName(name, at)...)
		errs = append(errs, validateQuantity(name, quantity, at)...)
		pages = pages || hugePages(name)
		plain = plain || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	for _, name := range sortedKeys(r.Requests) {
		quantity := r.Requests[name]
		at := requests.Key(string(name))
		errs = append(errs, validateContainerResourceName(name, at)...)
		errs = append(errs, validateQuantity(name, quantity, at)...)
		pages = pages || hugePages(name)
		plain = plain || name == corev1.ResourceCPU || name == corev1.ResourceMemory
		whole := extended(name) || hugePages(name)
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

// validatePodResources checks what the pod as a whole asks for: its own resources and its runtime's overhead.
func validatePodResources(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.Overhead != nil {
		errs = append(errs, validateResources(&corev1.ResourceRequirements{Limits: spec.Overhead}, path.Child("overhead"))...)
	}
	if spec.Resources == nil {
		return errs
	}
	at := path.Child("resources")
	errs = append(errs, validateResources(spec.Resources, at)...)
	for i, c := range spec.Containers {
		for _, name := range sortedKeys(c.Resources.Limits) {
			limit := c.Resources.Limits[name]
			if all, ok := spec.Resources.Limits[name]; ok && limit.Cmp(all) > 0 {
				errs = append(errs, field.Invalid(path.Child("containers").Index(i).Child("resources", "limits").Key(string(name)), limit.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", all.String())))
			}
		}
	}
	together := containerRequests(spec)
	for _, name := range sortedKeys(spec.Resources.Requests) {
		all, sum := spec.Resources.Requests[name], together[name]
		if sum.Cmp(all) > 0 {
			errs = append(errs, field.Invalid(at.Child("requests").Key(string(name)), all.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	for _, list := range []corev1.ResourceList{spec.Resources.Limits, spec.Resources.Requests} {
		for _, name := range sortedKeys(list) {
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
			errs = append(errs, dnsLabel(claim.Name, at.Child("name"))...)
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
