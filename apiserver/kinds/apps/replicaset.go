package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/kinds/workload"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func replicaSets() *registry.Kind {
	return &registry.Kind{
		GVK:              appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Resource:         "replicasets",
		Singular:         "replicaset",
		ShortNames:       []string{"rs"},
		Categories:       []string{"all"},
		Namespaced:       true,
		StoragePrefix:    "replicasets",
		New:              func() registry.Object { return &appsv1.ReplicaSet{} },
		NewList:          func() runtime.Object { return &appsv1.ReplicaSetList{} },
		Default:          meta.One(defaultReplicaSet),
		PrepareCreate:    meta.One(prepareReplicaSet),
		PrepareUpdate:    meta.Two(prepareReplicaSetUpdate),
		ValidateCreate:   meta.Faults(validateReplicaSet),
		ValidateUpdate:   meta.FaultsOf(validateReplicaSetUpdate),
		Warnings:         replicaSetWarnings,
		Fields:           replicaSetFields,
		SelectableFields: []string{"status.replicas"},
		Columns:          replicaSetColumns(),
		Cells:            meta.Cells(replicaSetCells),
		Subresources: []registry.Subresource{
			workload.ScaleOf(replicaSetScale, scaleReplicaSet),
			{
				Name:           "status",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(prepareReplicaSetStatus),
				ValidateUpdate: meta.FaultsOf(validateReplicaSetStatus),
			},
		},
	}
}

func prepareReplicaSet(rs *appsv1.ReplicaSet) {
	rs.Status = appsv1.ReplicaSetStatus{}
	rs.Generation = 1
	podspec.DropGatedTemplate(&rs.Spec.Template)
}

func prepareReplicaSetUpdate(rs, old *appsv1.ReplicaSet) {
	rs.Status = old.Status
	podspec.DropGatedTemplate(&rs.Spec.Template)
	meta.BumpGeneration(rs, old, !meta.Same(rs.Spec, old.Spec))
}

func prepareReplicaSetStatus(rs, old *appsv1.ReplicaSet) {
	rs.Spec = old.Spec
	rs.Generation = old.Generation
}

func replicaSetScale(rs *appsv1.ReplicaSet) *autoscalingv1.Scale {
	return workload.ScaleView(rs, ptr.Deref(rs.Spec.Replicas, 0), rs.Status.Replicas, rs.Spec.Selector)
}

func scaleReplicaSet(rs *appsv1.ReplicaSet, scale *autoscalingv1.Scale) error {
	rs.Spec.Replicas = ptr.To(scale.Spec.Replicas)
	return workload.TakeScaleMeta(rs, scale)
}
