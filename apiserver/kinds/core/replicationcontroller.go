package core

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/kinds/workload"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func replicationControllers() *registry.Kind {
	return &registry.Kind{
		GVK:              coreKind("ReplicationController"),
		Resource:         "replicationcontrollers",
		Singular:         "replicationcontroller",
		ShortNames:       []string{"rc"},
		Categories:       []string{"all"},
		Namespaced:       true,
		StoragePrefix:    "controllers",
		New:              func() registry.Object { return &corev1.ReplicationController{} },
		NewList:          func() runtime.Object { return &corev1.ReplicationControllerList{} },
		Default:          meta.One(defaultReplicationController),
		PrepareCreate:    meta.One(prepareReplicationController),
		PrepareUpdate:    meta.Two(prepareReplicationControllerUpdate),
		ValidateCreate:   meta.Faults(validateReplicationController),
		ValidateUpdate:   meta.FaultsOf(validateReplicationControllerUpdate),
		Warnings:         replicationControllerWarnings,
		Fields:           replicationControllerFields,
		SelectableFields: []string{"status.replicas"},
		Columns:          replicationControllerColumns(),
		Cells:            meta.Cells(replicationControllerCells),
		Subresources: []registry.Subresource{
			workload.ScaleOf(replicationControllerScale, scaleReplicationController),
			{
				Name:           "status",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(prepareReplicationControllerStatus),
				ValidateUpdate: meta.FaultsOf(validateReplicationControllerStatus),
			},
		},
	}
}

func prepareReplicationController(rc *corev1.ReplicationController) {
	rc.Status = corev1.ReplicationControllerStatus{}
	rc.Generation = 1
	dropGatedOf(rc)
}

func prepareReplicationControllerUpdate(rc, old *corev1.ReplicationController) {
	rc.Status = old.Status
	dropGatedOf(rc)
	meta.BumpGeneration(rc, old, !meta.Same(rc.Spec, old.Spec))
}

func dropGatedOf(rc *corev1.ReplicationController) {
	if rc.Spec.Template != nil {
		podspec.DropGatedTemplate(rc.Spec.Template)
	}
}

func prepareReplicationControllerStatus(rc, old *corev1.ReplicationController) {
	rc.Spec = old.Spec
	rc.Generation = old.Generation
}

func replicationControllerScale(rc *corev1.ReplicationController) *autoscalingv1.Scale {
	return workload.ScaleView(rc, ptr.Deref(rc.Spec.Replicas, 0), rc.Status.Replicas, &metav1.LabelSelector{MatchLabels: rc.Spec.Selector})
}

func scaleReplicationController(rc *corev1.ReplicationController, scale *autoscalingv1.Scale) error {
	rc.Spec.Replicas = ptr.To(scale.Spec.Replicas)
	return workload.TakeScaleMeta(rc, scale)
}
