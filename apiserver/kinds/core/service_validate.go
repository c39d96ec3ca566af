package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// serviceWarnings are what is legal and has no effect.
func serviceWarnings(obj, _ registry.Object) []string {
	spec := &obj.(*corev1.Service).Spec
	var warnings []string
	if spec.ClusterIP == corev1.ClusterIPNone {
		if len(spec.ExternalIPs) > 0 {
			warnings = append(warnings, `spec.externalIPs is ignored when spec.clusterIP is "None"`)
		}
		if spec.LoadBalancerIP != "" {
			warnings = append(warnings, `spec.loadBalancerIP is ignored when spec.clusterIP is "None"`)
		}
		if spec.SessionAffinity != corev1.ServiceAffinityNone {
			warnings = append(warnings, "spec.SessionAffinity is ignored for headless services")
		}
	}
	if spec.Type == corev1.ServiceTypeExternalName {
		if len(spec.ExternalIPs) > 0 {
			warnings = append(warnings, `spec.externalIPs is ignored when spec.type is "ExternalName"`)
		}
		if spec.SessionAffinity == corev1.ServiceAffinityClientIP {
			warnings = append(warnings, "spec.SessionAffinity is ignored when spec.type is \"ExternalName\"")
		}
	}
	if ptr.Deref(spec.TrafficDistribution, "") == corev1.ServiceTrafficDistributionPreferClose {
		warnings = append(warnings, "spec.trafficDistribution: PreferClose is deprecated, use PreferSameZone")
	}
	return warnings
}

const (
	kubeletPort        = 10250
	maxAffinitySeconds = 86400
	onlyLoadBalancer   = "may only be used when `type` is 'LoadBalancer'"
)

// validateServiceType checks what each type demands and forbids.
func validateServiceType(svc *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	spec := &svc.Spec
	if len(spec.Ports) == 0 && !headless(svc) && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(path.Child("ports"), ""))
	}
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		for i, port := range spec.Ports {
			if port.Port == kubeletPort {
				errs = append(errs, field.Invalid(path.Child("ports").Index(i), port.Port,
					fmt.Sprintf("may not expose port %v externally since it is used by kubelet", kubeletPort)))
			}
		}
		fallthrough
	case corev1.ServiceTypeNodePort:
		if headless(svc) {
			errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(0), spec.ClusterIPs[0],
				fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
		}
	case corev1.ServiceTypeExternalName:
		const no = "may not be set for ExternalName services"
		if len(spec.ClusterIPs) > 0 {
			errs = append(errs, field.Forbidden(path.Child("clusterIPs"), no))
		}
		if len(spec.IPFamilies) > 0 {
			errs = append(errs, field.Forbidden(path.Child("ipFamilies"), no))
		}
		if spec.IPFamilyPolicy != nil {
			errs = append(errs, field.Forbidden(path.Child("ipFamilyPolicy"), no))
		}
		// A name may end in a dot to say that it is complete.
		if name := strings.TrimSuffix(spec.ExternalName, "."); name != "" {
			errs = append(errs, check.DNSSubdomain(name, path.Child("externalName"))...)
		} else {
			errs = append(errs, field.Required(path.Child("externalName"), ""))
		}
	}
	return errs
}

func validateServicePorts(svc *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	type nodePort struct {
		protocol corev1.Protocol
		port     int32
	}
	names, ports, nodePorts := sets.New[string](), sets.New[nodePort](), sets.New[nodePort]()
	for i, port := range svc.Spec.Ports {
		at := path.Index(i)
		switch {
		case port.Name == "" && len(svc.Spec.Ports) > 1:
			errs = append(errs, field.Required(at.Child("name"), ""))
		case port.Name != "":
			errs = append(errs, check.DNSLabel(port.Name, at.Child("name"))...)
			if names.Has(port.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), port.Name))
			}
			names.Insert(port.Name)
		}
		errs = append(errs, check.Invalid(at.Child("port"), port.Port, validation.IsValidPortNum(int(port.Port)))...)
		errs = append(errs, check.OneOf(port.Protocol, at.Child("protocol"), check.Protocols...)...)
		errs = append(errs, podspec.PortOrName(port.TargetPort, at.Child("targetPort"))...)
		if port.AppProtocol != nil {
			errs = append(errs, check.QualifiedName(*port.AppProtocol, at.Child("appProtocol"))...)
		}
		if key := (nodePort{port.Protocol, port.Port}); ports.Has(key) {
			errs = append(errs, field.Duplicate(at, corev1.ServicePort{Protocol: port.Protocol, Port: port.Port}))
		} else {
			ports.Insert(key)
		}
		if port.NodePort == 0 {
			continue
		}
		if svc.Spec.Type == corev1.ServiceTypeClusterIP {
			errs = append(errs, field.Forbidden(at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
		}
		if key := (nodePort{port.Protocol, port.NodePort}); nodePorts.Has(key) {
			errs = append(errs, field.Duplicate(at.Child("nodePort"), port.NodePort))
		} else {
			nodePorts.Insert(key)
		}
	}
	return errs
}

func validateSessionAffinity(spec *corev1.ServiceSpec, path *field.Path) field.ErrorList {
	errs := check.OneOf(spec.SessionAffinity, path.Child("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	config := path.Child("sessionAffinityConfig")
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if spec.SessionAffinityConfig != nil {
			errs = append(errs, field.Forbidden(config, "must not be set when session affinity is None"))
		}
	case corev1.ServiceAffinityClientIP:
		c := spec.SessionAffinityConfig
		switch {
		case c == nil:
			return append(errs, field.Required(config, "when session affinity type is ClientIP"))
		case c.ClientIP == nil:
			return append(errs, field.Required(config.Child("clientIP"), "when session affinity type is ClientIP"))
		case c.ClientIP.TimeoutSeconds == nil:
			return append(errs, field.Required(config.Child("clientIP", "timeoutSeconds"), "when session affinity type is ClientIP"))
		}
		if s := *c.ClientIP.TimeoutSeconds; s <= 0 || s > maxAffinitySeconds {
			errs = append(errs, field.Invalid(config.Child("clientIP", "timeoutSeconds"), s, fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds)))
		}
	}
	return errs
}

func validateLoadBalancer(svc, old *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	spec := &svc.Spec
	balancer := spec.Type == corev1.ServiceTypeLoadBalancer
	ranges := path.Child("loadBalancerSourceRanges")
	if len(spec.LoadBalancerSourceRanges) > 0 {
		if !balancer {
			errs = append(errs, field.Forbidden(ranges, onlyLoadBalancer))
		}
		for i, cidr := range spec.LoadBalancerSourceRanges {
			errs = append(errs, validation.IsValidCIDRForLegacyField(ranges.Index(i), strings.TrimSpace(cidr), false, nil)...)
		}
	}
	allocate := path.Child("allocateLoadBalancerNodePorts")
	switch {
	case balancer && spec.AllocateLoadBalancerNodePorts == nil:
		errs = append(errs, field.Required(allocate, ""))
	case !balancer && spec.AllocateLoadBalancerNodePorts != nil:
		errs = append(errs, field.Forbidden(allocate, onlyLoadBalancer))
	}
	class := path.Child("loadBalancerClass")
	switch {
	case old != nil && balancer && old.Spec.Type == spec.Type && !meta.Same(spec.LoadBalancerClass, old.Spec.LoadBalancerClass):
		errs = append(errs, field.Invalid(class, spec.LoadBalancerClass, "may not change once set"))
	case spec.LoadBalancerClass == nil:
	case balancer:
		errs = append(errs, check.QualifiedName(*spec.LoadBalancerClass, class)...)
	default:
		errs = append(errs, field.Forbidden(class, onlyLoadBalancer))
	}
	return errs
}

func validateTrafficPolicies(svc *corev1.Service, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	spec := &svc.Spec
	external, health := path.Child("externalTrafficPolicy"), path.Child("healthCheckNodePort")
	switch {
	case reachableFromOutside(svc):
		errs = append(errs, check.OneOf(spec.ExternalTrafficPolicy, external, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	case spec.ExternalTrafficPolicy != "":
		errs = append(errs, field.Invalid(external, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	}
	switch {
	case needsHealthPort(svc):
		if spec.HealthCheckNodePort != 0 {
			errs = append(errs, check.Invalid(health, spec.HealthCheckNodePort, validation.IsValidPortNum(int(spec.HealthCheckNodePort)))...)
		}
	case spec.HealthCheckNodePort != 0:
		errs = append(errs, field.Invalid(health, spec.HealthCheckNodePort,
			"may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	internal := path.Child("internalTrafficPolicy")
	switch policy := spec.InternalTrafficPolicy; {
	case policy != nil:
		errs = append(errs, check.OneOfOrNone(*policy, internal, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	case spec.Type != corev1.ServiceTypeExternalName:
		errs = append(errs, field.Required(internal, ""))
	}
	return errs
}

// validateServiceStatus checks what a load balancer reports.
func validateServiceStatus(svc, old *corev1.Service) field.ErrorList {
	errs := meta.ValidateUpdate(svc, old)
	path := field.NewPath("status", "loadBalancer", "ingress")
	ingress := svc.Status.LoadBalancer.Ingress
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer && len(ingress) > 0 && !meta.Same(ingress, old.Status.LoadBalancer.Ingress) {
		return append(errs, field.Forbidden(path, "may only be used when `spec.type` is \"LoadBalancer\""))
	}
	for i, in := range ingress {
		at := path.Index(i)
		if in.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, false, nil)...)
			if in.IPMode == nil {
				errs = append(errs, field.Required(at.Child("ipMode"), "must be specified when `ip` is set"))
			}
		}
		if in.IPMode != nil {
			if in.IP == "" {
				errs = append(errs, field.Forbidden(at.Child("ipMode"), "may not be specified when `ip` is not set"))
			}
			errs = append(errs, check.OneOfOrNone(*in.IPMode, at.Child("ipMode"), corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy)...)
		}
		if in.Hostname != "" {
			errs = append(errs, check.DNSSubdomain(in.Hostname, at.Child("hostname"))...)
		}
	}
	return errs
}
