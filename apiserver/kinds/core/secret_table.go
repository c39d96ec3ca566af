package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func secretColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Type", "string", "Used to facilitate programmatic handling of secret data."),
		meta.Col("Data", "string", "Number of keys."),
		meta.AgeColumn(),
	}
}

func secretFields(obj registry.Object) fields.Set {
	return meta.WithFields(obj, fields.Set{"type": string(obj.(*corev1.Secret).Type)})
}

func secretCells(secret *corev1.Secret) []any {
	return []any{secret.Name, string(secret.Type), int64(len(secret.Data)), meta.Age(secret.CreationTimestamp)}
}
