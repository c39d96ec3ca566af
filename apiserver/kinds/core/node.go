package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func nodes() *registry.Kind {
	return &registry.Kind{
		GVK:              coreKind("Node"),
		Resource:         "nodes",
		Singular:         "node",
		ShortNames:       []string{"no"},
		StoragePrefix:    "minions",
		New:              func() registry.Object { return &corev1.Node{} },
		NewList:          func() runtime.Object { return &corev1.NodeList{} },
		Default:          meta.One(defaultNode),
		PrepareUpdate:    meta.Two(prepareNodeUpdate),
		ValidateCreate:   meta.Faults(validateNode),
		ValidateUpdate:   meta.FaultsOf(validateNodeUpdate),
		Fields:           nodeFields,
		SelectableFields: []string{"spec.unschedulable"},
		Columns:          nodeColumns(),
		Cells:            meta.Cells(nodeCells),
		Subresources: []registry.Subresource{
			{Name: "proxy", GVK: coreKind("NodeProxyOptions"), Verbs: meta.ProxyVerbs(), Stream: registry.NodeProxy, Options: nodeProxyOptions},
			{
				Name:           "status",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(prepareNodeStatus),
				ValidateUpdate: meta.FaultsOf(validateNodeUpdate),
			},
		},
	}
}

// prepareNodeUpdate keeps the status. A create keeps it too: a node registers itself whole.
func prepareNodeUpdate(node, old *corev1.Node) { node.Status = old.Status }

func prepareNodeStatus(node, old *corev1.Node) { node.Spec = old.Spec }
