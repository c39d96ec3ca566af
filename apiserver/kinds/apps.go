package kinds

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// apps is the group apps, version v1, by resource name.
func apps() []*Kind {
	return []*Kind{
		{
			GVK:            appsv1.SchemeGroupVersion.WithKind("Deployment"),
			Resource:       "deployments",
			Singular:       "deployment",
			ShortNames:     []string{"deploy"},
			Categories:     []string{"all"},
			Namespaced:     true,
			StoragePrefix:  "deployments",
			New:            func() Object { return &appsv1.Deployment{} },
			NewList:        func() runtime.Object { return &appsv1.DeploymentList{} },
			Default:        one(defaultDeployment),
			PrepareCreate:  one(prepareDeployment),
			PrepareUpdate:  two(prepareDeploymentUpdate),
			ValidateCreate: faults(validateDeployment),
			ValidateUpdate: faultsOf(validateDeploymentUpdate),
			Warnings:       deploymentWarnings,
			Columns: append([]metav1.TableColumnDefinition{
				nameColumn(),
				col("Ready", "string", "Number of the pod with ready state"),
				col("Up-to-date", "string", "Total number of non-terminating pods targeted by this deployment that have the desired template spec."),
				col("Available", "string", "Total number of available non-terminating pods targeted by this deployment."),
				ageColumn(),
			}, workloadColumns()...),
			Cells: cells(deploymentCells),
			Subresources: []Subresource{
				scaleOf(deploymentScale, scaleDeployment),
				{
					Name:           "status",
					Verbs:          statusVerbs(),
					PrepareUpdate:  two(prepareDeploymentStatus),
					ValidateUpdate: faultsOf(validateDeploymentStatus),
				},
			},
		},
		{
			GVK:              appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
			Resource:         "replicasets",
			Singular:         "replicaset",
			ShortNames:       []string{"rs"},
			Categories:       []string{"all"},
			Namespaced:       true,
			StoragePrefix:    "replicasets",
			New:              func() Object { return &appsv1.ReplicaSet{} },
			NewList:          func() runtime.Object { return &appsv1.ReplicaSetList{} },
			Default:          one(defaultReplicaSet),
			PrepareCreate:    one(prepareReplicaSet),
			PrepareUpdate:    two(prepareReplicaSetUpdate),
			ValidateCreate:   faults(validateReplicaSet),
			ValidateUpdate:   faultsOf(validateReplicaSetUpdate),
			Warnings:         replicaSetWarnings,
			Fields:           replicaSetFields,
			SelectableFields: []string{"status.replicas"},
			Columns: append([]metav1.TableColumnDefinition{
				nameColumn(),
				col("Desired", "integer", "Number of desired pods."),
				col("Current", "integer", "Number of non-terminating pods observed."),
				col("Ready", "integer", "Number of non-terminating pods that are ready."),
				ageColumn(),
			}, workloadColumns()...),
			Cells: cells(replicaSetCells),
			Subresources: []Subresource{
				scaleOf(replicaSetScale, scaleReplicaSet),
				{
					Name:           "status",
					Verbs:          statusVerbs(),
					PrepareUpdate:  two(prepareReplicaSetStatus),
					ValidateUpdate: faultsOf(validateReplicaSetStatus),
				},
			},
		},
	}
}

// scaleOf is the subresource scale of a workload, of type autoscaling/v1 Scale.
func scaleOf[T Object](from func(T) *autoscalingv1.Scale, into func(T, *autoscalingv1.Scale) error) Subresource {
	return Subresource{
		Name:  "scale",
		GVK:   autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
		Verbs: statusVerbs(),
		New:   func() runtime.Object { return &autoscalingv1.Scale{} },
		From:  func(parent Object) (runtime.Object, error) { return from(parent.(T)), nil },
		Into: func(parent Object, sub runtime.Object) (Object, error) {
			changed := parent.DeepCopyObject().(T)
			if err := into(changed, sub.(*autoscalingv1.Scale)); err != nil {
				return nil, err
			}
			return changed, nil
		},
	}
}
