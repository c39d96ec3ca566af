package discovery

import (
	"fmt"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func endpointSliceColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("AddressType", "string", "The type of address carried by this EndpointSlice."),
		meta.Col("Ports", "string", "The network ports exposed by each endpoint in this slice."),
		meta.Col("Endpoints", "string", "The addresses of the endpoints in this slice."),
		meta.AgeColumn(),
	}
}

func endpointSliceCells(slice *discoveryv1.EndpointSlice) []any {
	var ports, endpoints []string
	for _, port := range slice.Ports {
		switch {
		case port.Port != nil:
			ports = append(ports, strconv.Itoa(int(*port.Port)))
		case port.Name != nil && *port.Name != "":
			ports = append(ports, *port.Name)
		default:
			ports = append(ports, "*")
		}
	}
	for _, e := range slice.Endpoints {
		endpoints = append(endpoints, e.Addresses...)
	}
	return []any{slice.Name, string(slice.AddressType), firstThree(ports), firstThree(endpoints), meta.Age(slice.CreationTimestamp)}
}

// firstThree shortens a list for a table cell.
func firstThree(list []string) string {
	if len(list) > 3 {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:3], ","), len(list)-3)
	}
	return meta.OrDefault(strings.Join(list, ","), "<unset>")
}
