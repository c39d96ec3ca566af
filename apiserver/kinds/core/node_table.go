package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

const roleLabelPrefix = "node-role.kubernetes.io/"

func nodeFields(obj registry.Object) fields.Set {
	unschedulable := "false"
	if obj.(*corev1.Node).Spec.Unschedulable {
		unschedulable = "true"
	}
	return meta.WithFields(obj, fields.Set{"spec.unschedulable": unschedulable})
}

func nodeColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Status", "string", "The status of the node"),
		meta.Col("Roles", "string", "The roles of the node"),
		meta.AgeColumn(),
		meta.Col("Version", "string", "Kubelet Version reported by the node."),
		meta.Wide("Internal-IP", "string", "The first address of type InternalIP."),
		meta.Wide("External-IP", "string", "The first address of type ExternalIP."),
		meta.Wide("OS-Image", "string", "OS Image reported by the node."),
		meta.Wide("Kernel-Version", "string", "Kernel Version reported by the node."),
		meta.Wide("Container-Runtime", "string", "ContainerRuntime Version reported by the node."),
	}
}

func nodeCells(node *corev1.Node) []any {
	info := node.Status.NodeInfo
	return []any{node.Name, nodeStatus(node), nodeRoles(node), meta.Age(node.CreationTimestamp), info.KubeletVersion,
		nodeAddress(node, corev1.NodeInternalIP), nodeAddress(node, corev1.NodeExternalIP),
		meta.OrDefault(info.OSImage, "<unknown>"), meta.OrDefault(info.KernelVersion, "<unknown>"),
		meta.OrDefault(info.ContainerRuntimeVersion, "<unknown>")}
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
	return meta.OrDefault(strings.Join(slices.Compact(roles), ","), "<none>")
}

func nodeAddress(node *corev1.Node, t corev1.NodeAddressType) string {
	for _, address := range node.Status.Addresses {
		if address.Type == t {
			return address.Address
		}
	}
	return "<none>"
}
