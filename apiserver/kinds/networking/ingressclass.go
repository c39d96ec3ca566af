package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func ingressClasses() *registry.Kind {
	return &registry.Kind{
		GVK:            networkingv1.SchemeGroupVersion.WithKind("IngressClass"),
		Resource:       "ingressclasses",
		Singular:       "ingressclass",
		StoragePrefix:  "ingressclasses",
		New:            func() registry.Object { return &networkingv1.IngressClass{} },
		NewList:        func() runtime.Object { return &networkingv1.IngressClassList{} },
		Default:        meta.One(defaultIngressClass),
		PrepareCreate:  meta.One(func(c *networkingv1.IngressClass) { c.Generation = 1 }),
		PrepareUpdate:  meta.Two(prepareIngressClassUpdate),
		ValidateCreate: meta.Faults(validateIngressClass),
		ValidateUpdate: meta.FaultsOf(validateIngressClassUpdate),
		Columns:        ingressClassColumns(),
		Cells:          meta.Cells(ingressClassCells),
	}
}

func prepareIngressClassUpdate(c, old *networkingv1.IngressClass) {
	meta.BumpGeneration(c, old, !meta.Same(c.Spec, old.Spec))
}

func defaultIngressClass(c *networkingv1.IngressClass) {
	if c.Spec.Parameters != nil {
		meta.DefaultTo(&c.Spec.Parameters.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
	}
}
