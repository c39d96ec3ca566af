package core

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func validateEndpoints(e *corev1.Endpoints) field.ErrorList {
	errs := meta.Validate(e, true, apivalidation.NameIsDNSSubdomain)
	return append(errs, validateSubsets(e.Subsets, field.NewPath("subsets"))...)
}

// validateEndpointsUpdate lets subsets that older servers took pass as long as nobody touches them.
func validateEndpointsUpdate(e, old *corev1.Endpoints) field.ErrorList {
	errs := meta.ValidateUpdate(e, old)
	faults := validateSubsets(e.Subsets, field.NewPath("subsets"))
	if len(faults) > 0 && meta.Same(e.Subsets, old.Subsets) {
		return errs
	}
	return append(errs, faults...)
}

func validateSubsets(subsets []corev1.EndpointSubset, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range subsets {
		s, at := &subsets[i], path.Index(i)
		if len(s.Addresses)+len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j := range s.Addresses {
			errs = append(errs, validateEndpointAddress(&s.Addresses[j], at.Child("addresses").Index(j))...)
		}
		for j := range s.NotReadyAddresses {
			errs = append(errs, validateEndpointAddress(&s.NotReadyAddresses[j], at.Child("notReadyAddresses").Index(j))...)
		}
		for j := range s.Ports {
			errs = append(errs, validateEndpointPort(&s.Ports[j], len(s.Ports) > 1, at.Child("ports").Index(j))...)
		}
	}
	return errs
}

func validateEndpointAddress(a *corev1.EndpointAddress, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if a.Hostname != "" {
		errs = append(errs, check.DNSLabel(a.Hostname, path.Child("hostname"))...)
	}
	if a.NodeName != nil {
		errs = append(errs, check.Invalid(path.Child("nodeName"), *a.NodeName, apivalidation.NameIsDNSSubdomain(*a.NodeName, false))...)
	}
	// Leading zeroes have always been taken in this field; warnings tell of them.
	ip := utilnet.ParseIPSloppy(a.IP)
	if ip == nil {
		return append(errs, validation.IsValidIPForLegacyField(path.Child("ip"), a.IP, false, nil)...)
	}
	address, _ := netip.AddrFromSlice(ip)
	return append(errs, check.OrdinaryIP(address.Unmap(), path.Child("ip"))...)
}

func validateEndpointPort(p *corev1.EndpointPort, named bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Name != "" {
		errs = append(errs, check.DNSLabel(p.Name, path.Child("name"))...)
	} else if named {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	errs = append(errs, check.Invalid(path.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))...)
	errs = append(errs, check.OneOf(p.Protocol, path.Child("protocol"), check.Protocols...)...)
	if p.AppProtocol != nil {
		errs = append(errs, check.QualifiedName(*p.AppProtocol, path.Child("appProtocol"))...)
	}
	return errs
}

func endpointsWarnings(obj, _ registry.Object) []string {
	var out []string
	warn := func(addresses []corev1.EndpointAddress, path *field.Path) {
		for i, a := range addresses {
			if utilnet.ParseIPSloppy(a.IP) != nil { // what is no address at all has been refused
				out = append(out, validation.GetWarningsForIP(path.Index(i).Child("ip"), a.IP)...)
			}
		}
	}
	subsets := obj.(*corev1.Endpoints).Subsets
	for i := range subsets {
		at := field.NewPath("subsets").Index(i)
		warn(subsets[i].Addresses, at.Child("addresses"))
		warn(subsets[i].NotReadyAddresses, at.Child("notReadyAddresses"))
	}
	return out
}
