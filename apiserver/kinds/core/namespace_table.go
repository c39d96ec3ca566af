package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func namespaceColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Status", "string", "The status of the namespace"),
		meta.AgeColumn(),
	}
}

func namespaceFields(obj registry.Object) fields.Set {
	return meta.WithFields(obj, fields.Set{"status.phase": string(obj.(*corev1.Namespace).Status.Phase)})
}

func namespaceCells(ns *corev1.Namespace) []any {
	return []any{ns.Name, string(ns.Status.Phase), meta.Age(ns.CreationTimestamp)}
}
