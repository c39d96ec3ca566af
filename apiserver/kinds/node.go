package kinds

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const roleLabelPrefix = "node-role.kubernetes.io/"

// defaultNode keeps the old single podCIDR equal to the first of podCIDRs, and takes all of a node's capacity as allocatable
// when it does not say otherwise.
func defaultNode(node *corev1.Node) {
	spec := &node.Spec
	switch {
	case spec.PodCIDR != "" && (len(spec.PodCIDRs) == 0 || spec.PodCIDRs[0] != spec.PodCIDR):
		spec.PodCIDRs = []string{spec.PodCIDR}
	case spec.PodCIDR == "" && len(spec.PodCIDRs) > 0:
		spec.PodCIDR = spec.PodCIDRs[0]
	}
	if node.Status.Allocatable == nil && len(node.Status.Capacity) > 0 {
		node.Status.Allocatable = node.Status.Capacity.DeepCopy()
	}
}

// prepareNodeUpdate keeps the status. A create keeps it too: a node registers itself whole.
func prepareNodeUpdate(node, old *corev1.Node) { node.Status = old.Status }

func prepareNodeStatus(node, old *corev1.Node) { node.Spec = old.Spec }

func validateNode(node *corev1.Node) field.ErrorList {
	errs := validateMeta(node, false, apivalidation.NameIsDNSSubdomain)
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
	for _, name := range sortedKeys(list) {
		quantity := list[name]
		at := path.Key(string(name))
		errs = append(errs, validateResourceName(name, at)...)
		errs = append(errs, validateQuantity(name, quantity, at)...)
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
		errs = append(errs, invalid(at.Child("value"), taint.Value, validation.IsValidLabelValue(taint.Value))...)
		errs = append(errs, validateTaintEffect(taint.Effect, false, at.Child("effect"))...)
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

func validateTaintEffect(effect corev1.TaintEffect, mayBeAbsent bool, path *field.Path) field.ErrorList {
	all := []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
	if mayBeAbsent {
		return supportedOrNothing(effect, path, all...)
	}
	return oneOf(effect, path, all...)
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
	errs := validateMetaUpdate(node, old)
	spec := field.NewPath("spec")
	errs = append(errs, validateTaints(node.Spec.Taints, spec.Child("taints"))...)
	errs = append(errs, validateNodeStatus(&node.Status, field.NewPath("status"))...)
	if len(old.Spec.PodCIDRs) > 0 && !same(node.Spec.PodCIDRs, old.Spec.PodCIDRs) {
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
	if !same(a, b) {
		errs = append(errs, field.Forbidden(field.NewPath(""), "node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)"))
	}
	return errs
}

func nodeFields(obj Object) fields.Set {
	unschedulable := "false"
	if obj.(*corev1.Node).Spec.Unschedulable {
		unschedulable = "true"
	}
	return withMetaFields(obj, fields.Set{"spec.unschedulable": unschedulable})
}

func nodeColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn(),
		col("Status", "string", "The status of the node"),
		col("Roles", "string", "The roles of the node"),
		ageColumn(),
		col("Version", "string", "Kubelet Version reported by the node."),
		wide("Internal-IP", "string", "The first address of type InternalIP."),
		wide("External-IP", "string", "The first address of type ExternalIP."),
		wide("OS-Image", "string", "OS Image reported by the node."),
		wide("Kernel-Version", "string", "Kernel Version reported by the node."),
		wide("Container-Runtime", "string", "ContainerRuntime Version reported by the node."),
	}
}

func nodeCells(node *corev1.Node) []any {
	info := node.Status.NodeInfo
	return []any{node.Name, nodeStatus(node), nodeRoles(node), age(node.CreationTimestamp), info.KubeletVersion,
		nodeAddress(node, corev1.NodeInternalIP), nodeAddress(node, corev1.NodeExternalIP),
		orDefault(info.OSImage, "<unknown>"), orDefault(info.KernelVersion, "<unknown>"),
		orDefault(info.ContainerRuntimeVersion, "<unknown>")}
}

func nodeStatus(node *corev1.Node) string {
	status := "Unknown"
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		status = "NotReady"
		if c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if node.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeRoles(node *corev1.Node) string {
	var roles []string
	for key, value := range node.Labels {
		if role, ok := strings.CutPrefix(key, roleLabelPrefix); ok && role != "" {
			roles = append(roles, role)
		} else if key == "kubernetes.io/role" && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return orDefault(strings.Join(slices.Compact(roles), ","), "<none>")
}

func nodeAddress(node *corev1.Node, t corev1.NodeAddressType) string {
	for _, address := range node.Status.Addresses {
		if address.Type == t {
			return address.Address
		}
	}
	return "<none>"
}
