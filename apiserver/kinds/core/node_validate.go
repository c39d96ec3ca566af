package core

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
)

func validateNode(node *corev1.Node) field.ErrorList {
	errs := meta.Validate(node, false, apivalidation.NameIsDNSSubdomain)
	errs = append(errs, validateTaints(node.Spec.Taints, field.NewPath("spec", "taints"))...)
	errs = append(errs, validatePodCIDRs(node.Spec.PodCIDRs, field.NewPath("spec", "podCIDRs"))...)
	return append(errs, validateNodeStatus(&node.Status, field.NewPath("status"))...)
}

func validateNodeStatus(status *corev1.NodeStatus, path *field.Path) field.ErrorList {
	errs := validateNodeResources(status.Capacity, path.Child("capacity"))
	errs = append(errs, validateNodeResources(status.Allocatable, path.Child("allocatable"))...)
	seen := map[corev1.NodeAddress]bool{}
	for i, address := range status.Addresses {
		if seen[address] {
			errs = append(errs, field.Duplicate(path.Child("addresses").Index(i), address))
		}
		seen[address] = true
	}
	return errs
}

func validateNodeResources(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range check.SortedKeys(list) {
		quantity := list[name]
		at := path.Key(string(name))
		errs = append(errs, check.ResourceName(name, at)...)
		errs = append(errs, check.Quantity(name, quantity, at)...)
	}
	return errs
}

func validateTaints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	type identity struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[identity]bool{}
	for i, taint := range taints {
		at := path.Index(i)
		errs = append(errs, metav1validation.ValidateLabelName(taint.Key, at.Child("key"))...)
		errs = append(errs, check.Invalid(at.Child("value"), taint.Value, validation.IsValidLabelValue(taint.Value))...)
		errs = append(errs, podspec.ValidateTaintEffect(taint.Effect, false, at.Child("effect"))...)
		id := identity{taint.Key, taint.Effect}
		if seen[id] {
			duplicate := field.Duplicate(at, taint)
			duplicate.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, duplicate)
		}
		seen[id] = true
	}
	return errs
}

func validatePodCIDRs(cidrs []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	families := map[bool]int{}
	for i, cidr := range cidrs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(path.Index(i), cidr, true, nil)...)
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			families[prefix.Addr().Is4()]++
		}
	}
	if len(errs) == 0 && (len(cidrs) > 2 || families[true] > 1 || families[false] > 1) {
		errs = append(errs, field.Invalid(path, cidrs, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

func validateNodeUpdate(node, old *corev1.Node) field.ErrorList {
	errs := meta.ValidateUpdate(node, old)
	spec := field.NewPath("spec")
	errs = append(errs, validateTaints(node.Spec.Taints, spec.Child("taints"))...)
	errs = append(errs, validateNodeStatus(&node.Status, field.NewPath("status"))...)
	if len(old.Spec.PodCIDRs) > 0 && !meta.Same(node.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(spec.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	} else {
		errs = append(errs, validatePodCIDRs(node.Spec.PodCIDRs, spec.Child("podCIDRs"))...)
	}
	if old.Spec.ProviderID != "" && node.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(spec.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	a, b := node.Spec, old.Spec
	for _, s := range []*corev1.NodeSpec{&a, &b} {
		// These may change; the rest of the specification is fixed once a node has registered.
		s.PodCIDR, s.PodCIDRs, s.ProviderID, s.Taints, s.Unschedulable = "", nil, "", nil, false
	}
	if !meta.Same(a, b) {
		errs = append(errs, field.Forbidden(field.NewPath(""), "node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)"))
	}
	return errs
}
