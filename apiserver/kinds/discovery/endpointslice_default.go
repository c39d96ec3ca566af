package discovery

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func defaultEndpointSlice(slice *discoveryv1.EndpointSlice) {
	tcp, unnamed := corev1.ProtocolTCP, ""
	for i := range slice.Ports {
		port := &slice.Ports[i]
		if port.Name == nil {
			port.Name = &unnamed
		}
		if port.Protocol == nil {
			port.Protocol = &tcp
		}
	}
}
