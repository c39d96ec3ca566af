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

func deployments() *registry.Kind {
	return &registry.Kind{
		GVK:            appsv1.SchemeGroupVersion.WithKind("Deployment"),
		Resource:       "deployments",
		Singular:       "deployment",
		ShortNames:     []string{"deploy"},
		Categories:     []string{"all"},
		Namespaced:     true,
		StoragePrefix:  "deployments",
		New:            func() registry.Object { return &appsv1.Deployment{} },
		NewList:        func() runtime.Object { return &appsv1.DeploymentList{} },
		Default:        meta.One(defaultDeployment),
		PrepareCreate:  meta.One(prepareDeployment),
		PrepareUpdate:  meta.Two(prepareDeploymentUpdate),
		ValidateCreate: meta.Faults(validateDeployment),
		ValidateUpdate: meta.FaultsOf(validateDeploymentUpdate),
		Warnings:       deploymentWarnings,
		Columns:        deploymentColumns(),
		Cells:          meta.Cells(deploymentCells),
		Subresources: []registry.Subresource{
			workload.ScaleOf(deploymentScale, scaleDeployment),
			{
				Name:           "status",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(prepareDeploymentStatus),
				ValidateUpdate: meta.FaultsOf(validateDeploymentStatus),
			},
		},
	}
}

func prepareDeployment(d *appsv1.Deployment) {
	d.Status = appsv1.DeploymentStatus{}
	d.Generation = 1
	podspec.DropGatedTemplate(&d.Spec.Template)
}

// prepareDeploymentUpdate counts a change of annotations as a new wish: a rollback used to be asked for by them.
func prepareDeploymentUpdate(d, old *appsv1.Deployment) {
	d.Status = old.Status
	podspec.DropGatedTemplate(&d.Spec.Template)
	meta.BumpGeneration(d, old, !meta.Same(d.Spec, old.Spec) || !meta.Same(d.Annotations, old.Annotations))
}

func prepareDeploymentStatus(d, old *appsv1.Deployment) {
	d.Spec = old.Spec
	d.Labels = old.Labels
	d.Generation = old.Generation
}

// deploymentScale shows the replicas of a Deployment to those who scale without knowing what they scale.
func deploymentScale(d *appsv1.Deployment) *autoscalingv1.Scale {
	return workload.ScaleView(d, ptr.Deref(d.Spec.Replicas, 0), d.Status.Replicas, d.Spec.Selector)
}

func scaleDeployment(d *appsv1.Deployment, scale *autoscalingv1.Scale) error {
	d.Spec.Replicas = ptr.To(scale.Spec.Replicas)
	return workload.TakeScaleMeta(d, scale)
}
