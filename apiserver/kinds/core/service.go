package core

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func services(config Config) *registry.Kind {
	hooks := serviceHooks{config: config}
	return &registry.Kind{
		GVK:              coreKind("Service"),
		Resource:         "services",
		Singular:         "service",
		ShortNames:       []string{"svc"},
		Categories:       []string{"all"},
		Namespaced:       true,
		StoragePrefix:    "services/specs",
		New:              func() registry.Object { return &corev1.Service{} },
		NewList:          func() runtime.Object { return &corev1.ServiceList{} },
		Default:          meta.One(hooks.fill),
		PrepareCreate:    meta.One(hooks.prepare),
		PrepareUpdate:    meta.Two(hooks.prepareUpdate),
		ValidateCreate:   meta.Faults(hooks.validate),
		ValidateUpdate:   meta.FaultsOf(hooks.validateUpdate),
		Warnings:         serviceWarnings,
		Fields:           serviceFields,
		SelectableFields: []string{"spec.clusterIP", "spec.type"},
		Columns:          serviceColumns(),
		Cells:            meta.Cells(serviceCells),
		CreateOnUpdate:   true,
		AnswerDeleted:    true,
		Subresources: []registry.Subresource{
			{Name: "proxy", GVK: coreKind("ServiceProxyOptions"), Verbs: meta.ProxyVerbs(), Stream: registry.ServiceProxy, Options: serviceProxyOptions},
			{
				Name:           "status",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(prepareServiceStatus),
				ValidateUpdate: meta.FaultsOf(validateServiceStatus),
			},
		},
	}
}

// serviceHooks are the hooks of Services, which depend on the address families of the cluster. Addresses and node ports
// themselves are handed out later, by who knows what is taken.
type serviceHooks struct{ config Config }

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
		meta.DefaultTo(&spec.IPFamilyPolicy, corev1.IPFamilyPolicyRequireDualStack)
		if *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
			cluster = cluster[:1]
		} else {
			cluster = []corev1.IPFamily{cluster[0], otherFamily(cluster[0])}
		}
	}
	meta.DefaultTo(&spec.IPFamilyPolicy, corev1.IPFamilyPolicySingleStack)
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

func (h serviceHooks) validate(svc *corev1.Service) field.ErrorList {
	errs := meta.Validate(svc, true, apivalidation.NameIsDNS1035Label)
	return append(errs, h.validateSpec(svc, nil)...)
}

func (h serviceHooks) validateUpdate(svc, old *corev1.Service) field.ErrorList {
	errs := meta.ValidateUpdate(svc, old)
	errs = append(errs, validateClusterIPsUpdate(svc, old)...)
	errs = append(errs, validateFamiliesUpdate(svc, old)...)
	return append(errs, h.validateSpec(svc, old)...)
}

func (h serviceHooks) validateSpec(svc, old *corev1.Service) field.ErrorList {
	spec, path := &svc.Spec, field.NewPath("spec")
	errs := check.OneOf(spec.Type, path.Child("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort,
		corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName)
	errs = append(errs, validateServiceType(svc, path)...)
	errs = append(errs, validateServicePorts(svc, path.Child("ports"))...)
	errs = append(errs, metav1validation.ValidateLabels(spec.Selector, path.Child("selector"))...)
	errs = append(errs, validateSessionAffinity(spec, path)...)
	errs = append(errs, h.validateAddresses(svc, old)...)
	for i, ip := range spec.ExternalIPs {
		errs = append(errs, validateExternalIP(ip, path.Child("externalIPs").Index(i))...)
	}
	errs = append(errs, validateLoadBalancer(svc, old, path)...)
	errs = append(errs, validateTrafficPolicies(svc, path)...)
	if d := spec.TrafficDistribution; d != nil {
		errs = append(errs, check.OneOf(*d, path.Child("trafficDistribution"), corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
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
		faults := check.OneOf(family, at.Index(i), corev1.IPv4Protocol, corev1.IPv6Protocol)
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
	errs = append(errs, check.OneOfOrNone(*spec.IPFamilyPolicy, policy, corev1.IPFamilyPolicySingleStack,
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
