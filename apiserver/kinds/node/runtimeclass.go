package node

import (
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func runtimeClasses() *registry.Kind {
	return &registry.Kind{
		GVK:            nodev1.SchemeGroupVersion.WithKind("RuntimeClass"),
		Resource:       "runtimeclasses",
		Singular:       "runtimeclass",
		StoragePrefix:  "runtimeclasses",
		New:            func() registry.Object { return &nodev1.RuntimeClass{} },
		NewList:        func() runtime.Object { return &nodev1.RuntimeClassList{} },
		ValidateCreate: meta.Faults(validateRuntimeClass),
		ValidateUpdate: meta.FaultsOf(validateRuntimeClassUpdate),
		Warnings:       runtimeClassWarnings,
		Columns:        runtimeClassColumns(),
		Cells:          meta.Cells(runtimeClassCells),
	}
}
