package core

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func endpointsColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Endpoints", "string", "The addresses and ports of the service's endpoints."),
		meta.AgeColumn(),
	}
}

func endpointsCells(e *corev1.Endpoints) []any {
	return []any{e.Name, endpointsCell(e.Subsets), meta.Age(e.CreationTimestamp)}
}

// shownEndpoints is how many endpoints a table names before it only counts.
const shownEndpoints = 3

// endpointsCell names the first ready endpoints, each with each of its ports.
func endpointsCell(subsets []corev1.EndpointSubset) string {
	if len(subsets) == 0 {
		return "<none>"
	}
	var all []string
	for i := range subsets {
		s := &subsets[i]
		if len(s.Ports) == 0 { // a headless Service needs none
			for _, a := range s.Addresses {
				all = append(all, a.IP)
			}
		}
		for _, port := range s.Ports {
			for _, a := range s.Addresses {
				all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(port.Port))))
			}
		}
	}
	if len(all) <= shownEndpoints {
		return strings.Join(all, ",")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(all[:shownEndpoints], ","), len(all)-shownEndpoints)
}
