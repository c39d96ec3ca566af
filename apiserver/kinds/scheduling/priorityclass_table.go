package scheduling

import (
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func priorityClassColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Value", "integer", "The priority that pods of this class get."),
		meta.Col("Global-Default", "boolean", "Whether pods without a class get this one."),
		meta.AgeColumn(),
		meta.Col("PreemptionPolicy", "string", "Whether pods of this class push out pods of lower priority."),
	}
}

func priorityClassCells(c *schedulingv1.PriorityClass) []any {
	return []any{c.Name, int64(c.Value), c.GlobalDefault, meta.Age(c.CreationTimestamp), string(ptr.Deref(c.PreemptionPolicy, ""))}
}
