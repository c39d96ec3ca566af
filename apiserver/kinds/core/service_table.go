package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func serviceColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Type", "string", "How the Service is exposed."),
		meta.Col("Cluster-IP", "string", "The primary address of the Service."),
		meta.Col("External-IP", "string", "The addresses at which the Service answers from outside."),
		meta.Col("Port(s)", "string", "The ports of the Service, each with its node port if it has one."),
		meta.AgeColumn(),
		meta.Wide("Selector", "string", "The labels of the pods that the Service sends traffic to."),
	}
}

func serviceCells(svc *corev1.Service) []any {
	ip := "<none>"
	if len(svc.Spec.ClusterIPs) > 0 {
		ip = svc.Spec.ClusterIPs[0]
	}
	return []any{svc.Name, string(svc.Spec.Type), ip, externalCell(svc), portsCell(svc.Spec.Ports),
		meta.Age(svc.CreationTimestamp), meta.LabelsCell(svc.Spec.Selector)}
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
			if at := meta.OrDefault(ingress.IP, ingress.Hostname); at != "" {
				list = append(list, at)
			}
		}
		slices.Sort(list)
		list = slices.Compact(list)
	default:
		return "<unknown>"
	}
	list = append(list, svc.Spec.ExternalIPs...)
	return meta.OrDefault(strings.Join(list, ","), none)
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
	return meta.OrDefault(strings.Join(list, ","), "<none>")
}

func serviceFields(obj registry.Object) fields.Set {
	svc := obj.(*corev1.Service)
	return meta.WithFields(obj, fields.Set{"spec.clusterIP": svc.Spec.ClusterIP, "spec.type": string(svc.Spec.Type)})
}
