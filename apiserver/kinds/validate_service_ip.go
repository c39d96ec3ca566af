package kinds

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// familyOf is the family of an address, "" for what is none.
func familyOf(ip string) corev1.IPFamily {
	switch address, err := netip.ParseAddr(ip); {
	case err != nil:
		return ""
	case address.Is4():
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func validateExternalIP(ip string, at *field.Path) field.ErrorList {
	errs := validation.IsValidIPForLegacyField(at, ip, false, nil)
	if address, err := netip.ParseAddr(ip); err == nil {
		errs = append(errs, ordinaryIP(address, at)...)
	}
	return errs
}

// validateAddresses checks that clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy tell one story, and one this cluster can serve.
func (h serviceHooks) validateAddresses(svc, old *corev1.Service) field.ErrorList {
	spec := &svc.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	var errs field.ErrorList
	path := field.NewPath("spec")
	ips := path.Child("clusterIPs")
	switch {
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		errs = append(errs, field.Required(ips, ""))
	case spec.ClusterIP != "" && spec.ClusterIPs[0] != spec.ClusterIP:
		errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "first value must match `clusterIP`"))
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	}
	errs = append(errs, h.validateFamilies(svc, old, path)...)
	bad := false
	for i, ip := range spec.ClusterIPs {
		if i == 0 && ip == corev1.ClusterIPNone {
			if len(spec.ClusterIPs) > 1 {
				bad = true
				errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "'None' must be the first and only value"))
			}
			continue
		}
		faults := validation.IsValidIPForLegacyField(ips.Index(i), ip, false, nil)
		bad = bad || len(faults) > 0
		errs = append(errs, faults...)
	}
	if len(spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "may only hold up to 2 values"))
	}
	if bad {
		return errs
	}
	if len(spec.ClusterIPs) == 2 && familyOf(spec.ClusterIPs[0]) == familyOf(spec.ClusterIPs[1]) {
		errs = append(errs, field.Invalid(ips, spec.ClusterIPs, "may specify no more than one IP for each IP family"))
	}
	if headless(svc) {
		return errs
	}
	for i, ip := range spec.ClusterIPs {
		if i < len(spec.IPFamilies) && familyOf(ip) != spec.IPFamilies[i] {
			errs = append(errs, field.Invalid(ips.Index(i), ip, fmt.Sprintf("expected an %v value as indicated by `ipFamilies[%v]`", spec.IPFamilies[i], i)))
		}
	}
	return errs
}

func (h serviceHooks) validateFamilies(svc, old *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	spec := &svc.Spec
	at, policy := path.Child("ipFamilies"), path.Child("ipFamilyPolicy")
	cluster := h.config.families()
	// Such a Service may name any family; and what was accepted once stays so when the cluster changes.
	free := headless(svc) && len(spec.Selector) == 0 || old != nil && slices.Equal(old.Spec.IPFamilies, spec.IPFamilies)
	seen := sets.New[corev1.IPFamily]()
	for i, family := range spec.IPFamilies {
		faults := oneOf(family, at.Index(i), corev1.IPv4Protocol, corev1.IPv6Protocol)
		if seen.Has(family) {
			faults = append(faults, field.Duplicate(at.Index(i), family))
		}
		if len(faults) == 0 && !free && !slices.Contains(cluster, family) {
			faults = append(faults, field.Invalid(at.Index(i), family, "not configured on this cluster"))
		}
		seen.Insert(family)
		errs = append(errs, faults...)
	}
	if spec.IPFamilyPolicy == nil {
		return errs
	}
	errs = append(errs, supportedOrNothing(*spec.IPFamilyPolicy, policy, corev1.IPFamilyPolicySingleStack,
		corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack)...)
	switch {
	case *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(cluster) < 2 && !free:
		errs = append(errs, field.Invalid(policy, *spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	case *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack && (len(spec.IPFamilies) > 1 || len(spec.ClusterIPs) > 1):
		errs = append(errs, field.Invalid(policy, *spec.IPFamilyPolicy,
			"must be 'RequireDualStack' or 'PreferDualStack' when multiple 'ipFamilies' or 'clusterIPs' are specified"))
	}
	return errs
}

// validateClusterIPsUpdate: the primary address stays, the secondary may come and go.
func validateClusterIPsUpdate(svc, old *corev1.Service) field.ErrorList {
	if !needsClusterIP(svc) || !needsClusterIP(old) || headless(svc) && headless(old) {
		return nil
	}
	var errs field.ErrorList
	now, before := svc.Spec.ClusterIPs, old.Spec.ClusterIPs
	path := field.NewPath("spec", "clusterIPs")
	if len(now) == 0 && len(before) > 0 {
		return append(errs, field.Invalid(path.Index(0), now, "primary clusterIP can not be unset"))
	}
	for i := range min(len(now), len(before)) {
		if now[i] != before[i] && (i == 0 || len(now) == len(before)) {
			errs = append(errs, field.Invalid(path.Index(i), now, "may not change once set"))
		}
	}
	if len(now) == 1 && len(before) == 2 && ptr.Deref(svc.Spec.IPFamilyPolicy, "") != corev1.IPFamilyPolicySingleStack {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), svc.Spec.IPFamilyPolicy,
			"must be set to 'SingleStack' when releasing the secondary clusterIP"))
	}
	return errs
}

func validateFamiliesUpdate(svc, old *corev1.Service) field.ErrorList {
	if !needsClusterIP(svc) || !needsClusterIP(old) {
		return nil
	}
	// The families of a headless Service without pods are its maker's affair.
	if headless(svc) && headless(old) && len(svc.Spec.Selector) == 0 && len(old.Spec.Selector) == 0 {
		return nil
	}
	var errs field.ErrorList
	now, before := svc.Spec.IPFamilies, old.Spec.IPFamilies
	path := field.NewPath("spec", "ipFamilies")
	if len(now) == 0 && len(before) > 0 {
		return append(errs, field.Invalid(path.Index(0), now, "primary ipFamily can not be unset"))
	}
	for i := range min(len(now), len(before)) {
		if now[i] != before[i] && (i == 0 || len(now) == len(before)) {
			errs = append(errs, field.Invalid(path.Index(i), now, "may not change once set"))
		}
	}
	if len(now) == 1 && len(before) == 2 && ptr.Deref(svc.Spec.IPFamilyPolicy, "") != corev1.IPFamilyPolicySingleStack {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), svc.Spec.IPFamilyPolicy,
			"must be set to 'SingleStack' when releasing the secondary ipFamily"))
	}
	return errs
}
