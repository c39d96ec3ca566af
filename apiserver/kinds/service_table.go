package kinds

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"
)

func serviceColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn(),
		col("Type", "string", "How the Service is exposed."),
		col("Cluster-IP", "string", "The primary address of the Service."),
		col("External-IP", "string", "The addresses at which the Service answers from outside."),
		col("Port(s)", "string", "The ports of the Service, each with its node port if it has one."),
		ageColumn(),
		wide("Selector", "string", "The labels of the pods that the Service sends traffic to."),
	}
}

func serviceCells(svc *corev1.Service) []any {
	ip := "<none>"
	if len(svc.Spec.ClusterIPs) > 0 {
		ip = svc.Spec.ClusterIPs[0]
	}
	return []any{svc.Name, string(svc.Spec.Type), ip, externalCell(svc), portsCell(svc.Spec.Ports),
		age(svc.CreationTimestamp), labelsCell(svc.Spec.Selector)}
}

func externalCell(svc *corev1.Service) string {
	var list []string
	none := "<none>"
	switch svc.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
	case corev1.ServiceTypeExternalName:
		return svc.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		none = "<pending>"
		for _, ingress := range svc.Status.LoadBalancer.Ingress {
			if at := orDefault(ingress.IP, ingress.Hostname); at != "" {
				list = append(list, at)
			}
		}
		slices.Sort(list)
		list = slices.Compact(list)
	default:
		return "<unknown>"
	}
	list = append(list, svc.Spec.ExternalIPs...)
	return orDefault(strings.Join(list, ","), none)
}

func portsCell(ports []corev1.ServicePort) string {
	var list []string
	for _, port := range ports {
		text := fmt.Sprintf("%d/%s", port.Port, port.Protocol)
		if port.NodePort > 0 {
			text = fmt.Sprintf("%d:%d/%s", port.Port, port.NodePort, port.Protocol)
		}
		list = append(list, text)
	}
	return orDefault(strings.Join(list, ","), "<none>")
}

func serviceFields(obj Object) fields.Set {
	svc := obj.(*corev1.Service)
	return withMetaFields(obj, fields.Set{"spec.clusterIP": svc.Spec.ClusterIP, "spec.type": string(svc.Spec.Type)})
}

// serviceWarnings are what is legal and has no effect.
func serviceWarnings(obj, _ Object) []string {
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
