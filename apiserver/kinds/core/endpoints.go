package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func endpoints() *registry.Kind {
	return &registry.Kind{
		GVK:            coreKind("Endpoints"),
		Resource:       "endpoints",
		Singular:       "endpoints",
		ShortNames:     []string{"ep"},
		Namespaced:     true,
		StoragePrefix:  "services/endpoints",
		New:            func() registry.Object { return &corev1.Endpoints{} },
		NewList:        func() runtime.Object { return &corev1.EndpointsList{} },
		Default:        meta.One(defaultEndpoints),
		ValidateCreate: meta.Faults(validateEndpoints),
		ValidateUpdate: meta.FaultsOf(validateEndpointsUpdate),
		Warnings:       endpointsWarnings,
		Columns:        endpointsColumns(),
		Cells:          meta.Cells(endpointsCells),
	}
}
