package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func namespaces() *registry.Kind {
	return &registry.Kind{
		GVK:              coreKind("Namespace"),
		Resource:         "namespaces",
		Singular:         "namespace",
		ShortNames:       []string{"ns"},
		Verbs:            []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		StoragePrefix:    "namespaces",
		New:              func() registry.Object { return &corev1.Namespace{} },
		NewList:          func() runtime.Object { return &corev1.NamespaceList{} },
		Default:          meta.One(defaultNamespace),
		PrepareCreate:    meta.One(prepareNamespace),
		PrepareUpdate:    meta.Two(prepareNamespaceUpdate),
		ValidateCreate:   meta.Faults(validateNamespace),
		ValidateUpdate:   meta.FaultsOf(validateNamespaceUpdate),
		Fields:           namespaceFields,
		SelectableFields: []string{"status.phase"},
		Columns:          namespaceColumns(),
		Cells:            meta.Cells(namespaceCells),
		BeginDelete:      meta.One(beginNamespaceDelete),
		HoldsDelete:      holdsNamespace,
		AnswerDeleted:    true,
		Subresources: []registry.Subresource{
			{
				Name:           "finalize",
				Verbs:          []string{"update"},
				PrepareUpdate:  meta.Two(prepareNamespaceFinalize),
				ValidateUpdate: meta.FaultsOf(validateNamespaceFinalize),
			},
			{
				Name:           "status",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(prepareNamespaceStatus),
				ValidateUpdate: meta.FaultsOf(validateNamespaceStatus),
			},
		},
	}
}

// prepareNamespace starts a namespace Active, held by the finalizer that the namespace controller removes last.
func prepareNamespace(ns *corev1.Namespace) {
	defaultNamespace(ns) // by now a generated name is known
	ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	for _, f := range ns.Spec.Finalizers {
		if f == corev1.FinalizerKubernetes {
			return
		}
	}
	ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
}

// prepareNamespaceUpdate keeps what only the subresources may change.
func prepareNamespaceUpdate(ns, old *corev1.Namespace) {
	ns.Spec.Finalizers = old.Spec.Finalizers
	ns.Status = old.Status
}

func prepareNamespaceFinalize(ns, old *corev1.Namespace) { ns.Status = old.Status }

func prepareNamespaceStatus(ns, old *corev1.Namespace) { ns.Spec = old.Spec }

// beginNamespaceDelete turns a namespace Terminating with the write that marks it deleted.
func beginNamespaceDelete(ns *corev1.Namespace) { ns.Status.Phase = corev1.NamespaceTerminating }

// holdsNamespace is true while the namespace's own finalizers keep it, besides those in its metadata.
func holdsNamespace(obj registry.Object) bool {
	return len(obj.(*corev1.Namespace).Spec.Finalizers) > 0
}
