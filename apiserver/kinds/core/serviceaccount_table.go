package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func serviceAccountColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{meta.NameColumn(), meta.AgeColumn()}
}

func serviceAccountCells(account *corev1.ServiceAccount) []any {
	return []any{account.Name, meta.Age(account.CreationTimestamp)}
}
