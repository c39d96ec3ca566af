package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/workload"
)

func podTemplateColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Containers", "string", "Names of each container in the template."),
		meta.Col("Images", "string", "Images referenced by each container in the template."),
		meta.Col("Pod Labels", "string", "The labels for the pod template."),
	}
}

func podTemplateCells(t *corev1.PodTemplate) []any {
	names, images := workload.ContainerCells(t.Template.Spec.Containers)
	return []any{t.Name, names, images, meta.LabelsCell(t.Template.Labels)}
}
