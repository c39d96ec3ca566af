package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func leases() *registry.Kind {
	return &registry.Kind{
		GVK:            coordinationv1.SchemeGroupVersion.WithKind("Lease"),
		Resource:       "leases",
		Singular:       "lease",
		Namespaced:     true,
		StoragePrefix:  "leases",
		New:            func() registry.Object { return &coordinationv1.Lease{} },
		NewList:        func() runtime.Object { return &coordinationv1.LeaseList{} },
		ValidateCreate: meta.Faults(validateLease),
		ValidateUpdate: meta.FaultsOf(validateLeaseUpdate),
		Columns:        leaseColumns(),
		Cells:          meta.Cells(leaseCells),
		CreateOnUpdate: true,
	}
}
