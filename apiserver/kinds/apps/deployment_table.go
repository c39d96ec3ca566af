package apps

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/workload"
)

func deploymentColumns() []metav1.TableColumnDefinition {
	return append([]metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Ready", "string", "Number of the pod with ready state"),
		meta.Col("Up-to-date", "string", "Total number of non-terminating pods targeted by this deployment that have the desired template spec."),
		meta.Col("Available", "string", "Total number of available non-terminating pods targeted by this deployment."),
		meta.AgeColumn(),
	}, workload.Columns()...)
}

func deploymentCells(d *appsv1.Deployment) []any {
	names, images := workload.ContainerCells(d.Spec.Template.Spec.Containers)
	ready := strconv.Itoa(int(d.Status.ReadyReplicas)) + "/" + strconv.Itoa(int(ptr.Deref(d.Spec.Replicas, 0)))
	return []any{d.Name, ready, int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas),
		meta.Age(d.CreationTimestamp), names, images, metav1.FormatLabelSelector(d.Spec.Selector)}
}
