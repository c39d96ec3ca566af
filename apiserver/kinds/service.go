package kinds

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// serviceHooks are the hooks of Services, which depend on the address families of the cluster. Addresses and node ports
// themselves are handed out later, by who knows what is taken.
type serviceHooks struct{ config Config }

func (h serviceHooks) fill(svc *corev1.Service) { defaultService(svc) }

func defaultService(svc *corev1.Service) {
	spec := &svc.Spec
	if spec.SessionAffinity == "" {
		spec.SessionAffinity = corev1.ServiceAffinityNone
	}
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if spec.SessionAffinityConfig == nil {
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{}
		}
		if spec.SessionAffinityConfig.ClientIP == nil {
			spec.SessionAffinityConfig.ClientIP = &corev1.ClientIPConfig{}
		}
		defaultTo(&spec.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
	if spec.Type == "" {
		spec.Type = corev1.ServiceTypeClusterIP
	}
	for i := range spec.Ports {
		port := &spec.Ports[i]
		if port.Protocol == "" {
			port.Protocol = corev1.ProtocolTCP
		}
		if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
	if reachableFromOutside(svc) && spec.ExternalTrafficPolicy == "" {
		spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	}
	if needsClusterIP(svc) {
		defaultTo(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		defaultTo(&spec.AllocateLoadBalancerNodePorts, true)
		for i := range svc.Status.LoadBalancer.Ingress {
			if ingress := &svc.Status.LoadBalancer.Ingress[i]; ingress.IP != "" {
				defaultTo(&ingress.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	}
}

// The questions that the rules of Services ask.

func headless(svc *corev1.Service) bool {
	return len(svc.Spec.ClusterIPs) == 1 && svc.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

func needsClusterIP(svc *corev1.Service) bool {
	switch svc.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		return true
	}
	return false
}

func needsNodePort(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort ||
		svc.Spec.Type == corev1.ServiceTypeLoadBalancer && ptr.Deref(svc.Spec.AllocateLoadBalancerNodePorts, true)
}

func needsHealthPort(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func reachableFromOutside(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer || svc.Spec.Type == corev1.ServiceTypeNodePort ||
		svc.Spec.Type == corev1.ServiceTypeClusterIP && len(svc.Spec.ExternalIPs) > 0
}

func (h serviceHooks) prepare(svc *corev1.Service) {
	svc.Status = corev1.ServiceStatus{}
	if svc.Spec.ClusterIP != "" && len(svc.Spec.ClusterIPs) == 0 {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
	h.chooseFamilies(svc)
}

// prepareUpdate makes an update of a file that never knew its addresses mean what it says: what the server had assigned
// stays, what the new type has no use for goes.
func (h serviceHooks) prepareUpdate(svc, old *corev1.Service) {
	svc.Status = old.Status
	keepAssigned(svc, old)
	matchClusterIPs(svc, old)
	dropUnused(svc, old)
	trimFamilies(svc, old)
	h.chooseFamilies(svc)
}

func prepareServiceStatus(svc, old *corev1.Service) { svc.Spec = old.Spec }

// keepAssigned fills in the addresses and node ports that the stored Service has and the update does not name.
func keepAssigned(svc, old *corev1.Service) {
	spec, was := &svc.Spec, &old.Spec
	if needsClusterIP(svc) && needsClusterIP(old) {
		if spec.ClusterIP == "" && len(spec.ClusterIPs) == 0 {
			spec.ClusterIP = was.ClusterIP
		}
		if len(spec.ClusterIPs) == 0 && spec.ClusterIP == was.ClusterIP {
			spec.ClusterIPs = slices.Clone(was.ClusterIPs)
		}
	}
	if needsNodePort(svc) && needsNodePort(old) {
		keepNodePorts(spec, was)
	}
	if needsHealthPort(svc) && needsHealthPort(old) && spec.HealthCheckNodePort == 0 {
		spec.HealthCheckNodePort = was.HealthCheckNodePort
	}
}

// keepNodePorts matches ports by name, and leaves alone a node port that the update gives to another port.
func keepNodePorts(spec, was *corev1.ServiceSpec) {
	named, used := map[string]int32{}, map[int32]bool{}
	for _, port := range was.Ports {
		named[port.Name] = port.NodePort
	}
	for _, port := range spec.Ports {
		used[port.NodePort] = true
	}
	for i := range spec.Ports {
		port := &spec.Ports[i]
		if before := named[port.Name]; port.NodePort == 0 && before != 0 && !used[before] {
			port.NodePort = before
			used[before] = true
		}
	}
}

// matchClusterIPs lets clients that know only clusterIP change it, or clear it, without touching clusterIPs.
func matchClusterIPs(svc, old *corev1.Service) {
	if svc.Spec.ClusterIP == old.Spec.ClusterIP || !slices.Equal(svc.Spec.ClusterIPs, old.Spec.ClusterIPs) {
		if svc.Spec.ClusterIP != "" && len(svc.Spec.ClusterIPs) == 0 {
			svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
		}
		return
	}
	svc.Spec.ClusterIPs = nil
	if svc.Spec.ClusterIP != "" {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
}

// dropUnused clears the fields that only the old type had a use for, unless the update changed them, which is a wish to be refused.
func dropUnused(svc, old *corev1.Service) {
	spec, was := &svc.Spec, &old.Spec
	if needsClusterIP(old) && !needsClusterIP(svc) {
		if spec.ClusterIP == was.ClusterIP && slices.Equal(spec.ClusterIPs, was.ClusterIPs) {
			spec.ClusterIP, spec.ClusterIPs = "", nil
		}
		if slices.Equal(spec.IPFamilies, was.IPFamilies) {
			spec.IPFamilies = nil
		}
		if ptr.Equal(spec.IPFamilyPolicy, was.IPFamilyPolicy) {
			spec.IPFamilyPolicy = nil
		}
		if ptr.Equal(spec.InternalTrafficPolicy, was.InternalTrafficPolicy) {
			spec.InternalTrafficPolicy = nil
		}
	}
	if needsNodePort(old) && !needsNodePort(svc) && sameNodePorts(spec, was) {
		for i := range spec.Ports {
			spec.Ports[i].NodePort = 0
		}
	}
	if needsHealthPort(old) && !needsHealthPort(svc) && spec.HealthCheckNodePort == was.HealthCheckNodePort {
		spec.HealthCheckNodePort = 0
	}
	if reachableFromOutside(old) && !reachableFromOutside(svc) && spec.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		spec.ExternalTrafficPolicy = ""
	}
	if was.Type == corev1.ServiceTypeLoadBalancer && spec.Type != corev1.ServiceTypeLoadBalancer {
		if ptr.Equal(spec.AllocateLoadBalancerNodePorts, was.AllocateLoadBalancerNodePorts) {
			spec.AllocateLoadBalancerNodePorts = nil
		}
		if ptr.Equal(spec.LoadBalancerClass, was.LoadBalancerClass) {
			spec.LoadBalancerClass = nil
		}
	}
}

func sameNodePorts(a, b *corev1.ServiceSpec) bool {
	set := func(spec *corev1.ServiceSpec) []int32 {
		var ports []int32
		for _, port := range spec.Ports {
			if port.NodePort != 0 {
				ports = append(ports, port.NodePort)
			}
		}
		slices.Sort(ports)
		return slices.Compact(ports)
	}
	return slices.Equal(set(a), set(b))
}

// trimFamilies lets a Service give up its second family by its policy alone.
func trimFamilies(svc, old *corev1.Service) {
	if ptr.Deref(svc.Spec.IPFamilyPolicy, "") != corev1.IPFamilyPolicySingleStack || ptr.Equal(svc.Spec.IPFamilyPolicy, old.Spec.IPFamilyPolicy) {
		return
	}
	if len(svc.Spec.ClusterIPs) == 2 && slices.Equal(svc.Spec.ClusterIPs, old.Spec.ClusterIPs) {
		svc.Spec.ClusterIPs = svc.Spec.ClusterIPs[:1]
	}
	if len(svc.Spec.IPFamilies) == 2 && slices.Equal(svc.Spec.IPFamilies, old.Spec.IPFamilies) {
		svc.Spec.IPFamilies = svc.Spec.IPFamilies[:1]
	}
}

// chooseFamilies fills in the address families: those of the addresses it asks for, else the cluster's, as many as its policy wants.
func (h serviceHooks) chooseFamilies(svc *corev1.Service) {
	spec := &svc.Spec
	if !needsClusterIP(svc) {
		return
	}
	cluster := h.config.families()
	if !headless(svc) {
		for i, ip := range spec.ClusterIPs {
			if family := familyOf(ip); family != "" && i == len(spec.IPFamilies) {
				spec.IPFamilies = append(spec.IPFamilies, family)
			}
		}
	}
	if headless(svc) && len(spec.Selector) == 0 {
		// Nobody but its maker knows the endpoints of such a Service, so it may have both families on any cluster.
		defaultTo(&spec.IPFamilyPolicy, corev1.IPFamilyPolicyRequireDualStack)
		if *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
			cluster = cluster[:1]
		} else {
			cluster = []corev1.IPFamily{cluster[0], otherFamily(cluster[0])}
		}
	}
	defaultTo(&spec.IPFamilyPolicy, corev1.IPFamilyPolicySingleStack)
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = cluster[:1:1]
	}
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 && len(cluster) > 1 {
		spec.IPFamilies = []corev1.IPFamily{spec.IPFamilies[0], otherFamily(spec.IPFamilies[0])}
	}
}

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}
