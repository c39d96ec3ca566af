package check

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// OrdinaryIP refuses the addresses that no endpoint of a Service can have, as they mean something else on every machine.
func OrdinaryIP(ip netip.Addr, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse := func(is bool, msg string) {
		if is {
			errs = append(errs, field.Invalid(path, ip.String(), msg))
		}
	}
	refuse(ip.IsUnspecified(), "may not be unspecified (0.0.0.0 or ::)")
	refuse(ip.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	refuse(ip.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	refuse(ip.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	return errs
}

// Protocols are those a port may have, in the order that messages list them.
var Protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

func KnownProtocol(p corev1.Protocol) bool { return slices.Contains(Protocols, p) }
