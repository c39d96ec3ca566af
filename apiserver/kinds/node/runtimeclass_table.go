package node

import (
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func runtimeClassColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Handler", "string", "The configuration of the node's container runtime that pods of this class run with."),
		meta.AgeColumn(),
	}
}

func runtimeClassCells(c *nodev1.RuntimeClass) []any {
	return []any{c.Name, c.Handler, meta.Age(c.CreationTimestamp)}
}
