package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func budgetColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Min Available", "string", "The minimum number of pods that must be available."),
		meta.Col("Max Unavailable", "string", "The maximum number of pods that may be unavailable."),
		meta.Col("Allowed Disruptions", "integer", "Calculated number of pods that may be disrupted at this time."),
		meta.AgeColumn(),
	}
}

func budgetCells(b *policyv1.PodDisruptionBudget) []any {
	return []any{b.Name, figureCell(b.Spec.MinAvailable), figureCell(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), meta.Age(b.CreationTimestamp)}
}

func figureCell(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}
