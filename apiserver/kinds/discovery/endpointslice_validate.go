package discovery

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

// The sizes that keep one slice a reasonable object.
const (
	maxSliceEndpoints = 1000
	maxSlicePorts     = 20000
	maxSliceAddresses = 100
	maxSliceHints     = 8
)

func validateEndpointSlice(slice *discoveryv1.EndpointSlice) field.ErrorList {
	errs := meta.Validate(slice, true, apivalidation.NameIsDNSSubdomain)
	errs = append(errs, validateAddressType(slice.AddressType)...)
	errs = append(errs, validateSliceEndpoints(slice.Endpoints, slice.AddressType, field.NewPath("endpoints"))...)
	return append(errs, validateSlicePorts(slice.Ports, field.NewPath("ports"))...)
}

func validateEndpointSliceUpdate(slice, old *discoveryv1.EndpointSlice) field.ErrorList {
	errs := meta.ValidateUpdate(slice, old)
	errs = append(errs, validateEndpointSlice(slice)...)
	return append(errs, check.Immutable(slice.AddressType, old.AddressType, field.NewPath("addressType"))...)
}

func validateAddressType(t discoveryv1.AddressType) field.ErrorList {
	path := field.NewPath("addressType")
	switch t {
	case "":
		return field.ErrorList{field.Required(path, "")}
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN:
		return nil
	}
	return field.ErrorList{field.NotSupported(path, t,
		[]discoveryv1.AddressType{discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6})}
}

func validateSliceEndpoints(endpoints []discoveryv1.Endpoint, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(endpoints) > maxSliceEndpoints {
		return append(errs, field.TooMany(path, len(endpoints), maxSliceEndpoints))
	}
	for i := range endpoints {
		errs = append(errs, validateSliceEndpoint(&endpoints[i], t, path.Index(i))...)
	}
	return errs
}

func validateSliceEndpoint(e *discoveryv1.Endpoint, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	addresses := path.Child("addresses")
	if len(e.Addresses) == 0 {
		errs = append(errs, field.Required(addresses, "must contain at least 1 address"))
	} else if len(e.Addresses) > maxSliceAddresses {
		errs = append(errs, field.TooMany(addresses, len(e.Addresses), maxSliceAddresses))
	}
	for i, address := range e.Addresses {
		errs = append(errs, validateSliceAddress(address, t, addresses.Index(i))...)
	}
	if e.NodeName != nil {
		for _, msg := range apivalidation.NameIsDNSSubdomain(*e.NodeName, false) {
			errs = append(errs, field.Invalid(path.Child("nodeName"), *e.NodeName, msg))
		}
	}
	errs = append(errs, metav1validation.ValidateLabels(e.DeprecatedTopology, path.Child("topology"))...)
	if _, found := e.DeprecatedTopology[corev1.LabelHostname]; found {
		errs = append(errs, field.Forbidden(path.Child("deprecatedTopology").Key(corev1.LabelHostname), "use nodeName instead"))
	}
	if e.Hostname != nil {
		errs = append(errs, check.DNSLabel(*e.Hostname, path.Child("hostname"))...)
	}
	if e.Hints != nil {
		errs = append(errs, validateSliceHints(e.Hints, path.Child("hints"))...)
	}
	return errs
}

func validateSliceAddress(address string, t discoveryv1.AddressType, path *field.Path) field.ErrorList {
	switch t {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
		errs := validation.IsValidIPForLegacyField(path, address, true, nil)
		ip, err := netip.ParseAddr(address)
		if err != nil {
			return errs
		}
		if t == discoveryv1.AddressTypeIPv4 && !ip.Is4() {
			errs = append(errs, field.Invalid(path, address, "must be an IPv4 address"))
		}
		if t == discoveryv1.AddressTypeIPv6 && !ip.Is6() {
			errs = append(errs, field.Invalid(path, address, "must be an IPv6 address"))
		}
		return append(errs, check.OrdinaryIP(ip, path)...)
	case discoveryv1.AddressTypeFQDN:
		return validation.IsFullyQualifiedDomainName(path, address)
	}
	return nil
}

func validateSliceHints(hints *discoveryv1.EndpointHints, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	zones := path.Child("forZones")
	if len(hints.ForZones) > maxSliceHints {
		return append(errs, field.TooMany(zones, len(hints.ForZones), maxSliceHints))
	}
	seen := map[string]bool{}
	for i, zone := range hints.ForZones {
		at := zones.Index(i).Child("name")
		if seen[zone.Name] {
			errs = append(errs, field.Duplicate(at, zone.Name))
			continue
		}
		seen[zone.Name] = true
		for _, msg := range validation.IsValidLabelValue(zone.Name) {
			errs = append(errs, field.Invalid(at, zone.Name, msg))
		}
	}
	nodes := path.Child("forNodes")
	if len(hints.ForNodes) > maxSliceHints {
		return append(errs, field.TooMany(nodes, len(hints.ForNodes), maxSliceHints))
	}
	for i, node := range hints.ForNodes {
		for _, msg := range apivalidation.NameIsDNSSubdomain(node.Name, false) {
			errs = append(errs, field.Invalid(nodes.Index(i).Child("name"), node.Name, msg))
		}
	}
	return errs
}

func validateSlicePorts(ports []discoveryv1.EndpointPort, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(ports) > maxSlicePorts {
		return append(errs, field.TooMany(path, len(ports), maxSlicePorts))
	}
	names := map[string]bool{}
	for i, port := range ports {
		at := path.Index(i)
		if port.Name != nil {
			if *port.Name != "" {
				errs = append(errs, check.DNSLabel(*port.Name, at.Child("name"))...)
			}
			if names[*port.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), *port.Name))
			}
			names[*port.Name] = true
		}
		if port.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else if !check.KnownProtocol(*port.Protocol) {
			errs = append(errs, field.NotSupported(at.Child("protocol"), *port.Protocol, check.Protocols))
		}
		if port.Port != nil {
			for _, msg := range validation.IsValidPortNum(int(*port.Port)) {
				errs = append(errs, field.Invalid(at.Child("port"), *port.Port, msg))
			}
		}
		if port.AppProtocol != nil {
			errs = append(errs, check.QualifiedName(*port.AppProtocol, at.Child("appProtocol"))...)
		}
	}
	return errs
}
