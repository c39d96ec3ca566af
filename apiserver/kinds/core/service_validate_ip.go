package core

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
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
		errs = append(errs, check.OrdinaryIP(address, at)...)
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
