package apps

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/workload"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func replicaSetColumns() []metav1.TableColumnDefinition {
	return append([]metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Desired", "integer", "Number of desired pods."),
		meta.Col("Current", "integer", "Number of non-terminating pods observed."),
		meta.Col("Ready", "integer", "Number of non-terminating pods that are ready."),
		meta.AgeColumn(),
	}, workload.Columns()...)
}

func replicaSetFields(obj registry.Object) fields.Set {
	replicas := strconv.Itoa(int(obj.(*appsv1.ReplicaSet).Status.Replicas))
	return meta.WithFields(obj, fields.Set{"status.replicas": replicas})
}

func replicaSetCells(rs *appsv1.ReplicaSet) []any {
	names, images := workload.ContainerCells(rs.Spec.Template.Spec.Containers)
	return []any{rs.Name, int64(ptr.Deref(rs.Spec.Replicas, 0)), int64(rs.Status.Replicas), int64(rs.Status.ReadyReplicas),
		meta.Age(rs.CreationTimestamp), names, images, metav1.FormatLabelSelector(rs.Spec.Selector)}
}
