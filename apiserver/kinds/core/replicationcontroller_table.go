package core

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/workload"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func replicationControllerColumns() []metav1.TableColumnDefinition {
	return append([]metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Desired", "integer", "Number of desired pods."),
		meta.Col("Current", "integer", "Number of pods observed."),
		meta.Col("Ready", "integer", "Number of pods that are ready."),
		meta.AgeColumn(),
	}, workload.Columns()...)
}

func replicationControllerFields(obj registry.Object) fields.Set {
	replicas := strconv.Itoa(int(obj.(*corev1.ReplicationController).Status.Replicas))
	return meta.WithFields(obj, fields.Set{"status.replicas": replicas})
}

func replicationControllerCells(rc *corev1.ReplicationController) []any {
	var containers []corev1.Container
	if rc.Spec.Template != nil {
		containers = rc.Spec.Template.Spec.Containers
	}
	names, images := workload.ContainerCells(containers)
	return []any{rc.Name, int64(ptr.Deref(rc.Spec.Replicas, 0)), int64(rc.Status.Replicas), int64(rc.Status.ReadyReplicas),
		meta.Age(rc.CreationTimestamp), names, images, meta.LabelsCell(rc.Spec.Selector)}
}
