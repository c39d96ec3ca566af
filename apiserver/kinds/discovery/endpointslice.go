package discovery

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func endpointSlices() *registry.Kind {
	return &registry.Kind{
		GVK:            discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"),
		Resource:       "endpointslices",
		Singular:       "endpointslice",
		Namespaced:     true,
		StoragePrefix:  "endpointslices",
		New:            func() registry.Object { return &discoveryv1.EndpointSlice{} },
		NewList:        func() runtime.Object { return &discoveryv1.EndpointSliceList{} },
		Default:        meta.One(defaultEndpointSlice),
		PrepareCreate:  meta.One(prepareEndpointSlice),
		PrepareUpdate:  meta.Two(prepareEndpointSliceUpdate),
		ValidateCreate: meta.Faults(validateEndpointSlice),
		ValidateUpdate: meta.FaultsOf(validateEndpointSliceUpdate),
		Columns:        endpointSliceColumns(),
		Cells:          meta.Cells(endpointSliceCells),
	}
}

func prepareEndpointSlice(slice *discoveryv1.EndpointSlice) { slice.Generation = 1 }

// prepareEndpointSliceUpdate counts label changes too: labels carry the Service that the slice belongs to.
func prepareEndpointSliceUpdate(slice, old *discoveryv1.EndpointSlice) {
	a, b := *slice, *old
	a.ObjectMeta, b.ObjectMeta = metav1.ObjectMeta{Labels: slice.Labels}, metav1.ObjectMeta{Labels: old.Labels}
	a.TypeMeta, b.TypeMeta = metav1.TypeMeta{}, metav1.TypeMeta{}
	meta.BumpGeneration(slice, old, !meta.Same(a, b))
}
