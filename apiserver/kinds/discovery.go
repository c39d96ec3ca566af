package kinds

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// discovery is the group discovery.k8s.io.
func discovery() []*Kind {
	return []*Kind{{
		GVK:            discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		Resource:       "endpointslices",
		Singular:       "endpointslice",
		Namespaced:     true,
		StoragePrefix:  "endpointslices",
		New:            func() Object { return &discoveryv1.EndpointSlice{} },
		NewList:        func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		Default:        one(defaultEndpointSlice),
		PrepareCreate:  one(prepareEndpointSlice),
		PrepareUpdate:  two(prepareEndpointSliceUpdate),
		ValidateCreate: faults(validateEndpointSlice),
		ValidateUpdate: faultsOf(validateEndpointSliceUpdate),
		Columns: []metav1.TableColumnDefinition{
			nameColumn(),
			col("AddressType", "string", "The type of address carried by this EndpointSlice."),
			col("Ports", "string", "The network ports exposed by each endpoint in this slice."),
			col("Endpoints", "string", "The addresses of the endpoints in this slice."),
			ageColumn(),
		},
		Cells: cells(endpointSliceCells),
	}}
}
