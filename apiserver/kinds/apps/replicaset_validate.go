package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/kinds/workload"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func validateReplicaSet(rs *appsv1.ReplicaSet) field.ErrorList {
	errs := meta.Validate(rs, true, apivalidation.NameIsDNSSubdomain)
	return append(errs, validateReplicaSetSpec(&rs.Spec, nil, field.NewPath("spec"))...)
}

func validateReplicaSetUpdate(rs, old *appsv1.ReplicaSet) field.ErrorList {
	errs := meta.ValidateUpdate(rs, old)
	errs = append(errs, validateReplicaSetSpec(&rs.Spec, &old.Spec, field.NewPath("spec"))...)
	return append(errs, check.Immutable(rs.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateReplicaSetSpec(spec, old *appsv1.ReplicaSetSpec, path *field.Path) field.ErrorList {
	errs := check.NonNegative(int64(ptr.Deref(spec.Replicas, 0)), path.Child("replicas"))
	errs = append(errs, check.NonNegative(int64(spec.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, workload.ValidateSelector(spec.Selector, path.Child("selector"))...)
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err != nil {
		return append(errs, field.Invalid(path.Child("selector"), spec.Selector, "invalid label selector"))
	}
	var oldTemplate *corev1.PodTemplateSpec
	if old != nil {
		oldTemplate = &old.Template
	}
	return append(errs, workload.ValidateTemplate("ReplicaSet", &spec.Template, oldTemplate, selector, path.Child("template"))...)
}

func validateReplicaSetStatus(rs, old *appsv1.ReplicaSet) field.ErrorList {
	errs := meta.ValidateUpdate(rs, old)
	s := &rs.Status
	return append(errs, workload.ValidateCounts(workload.Counts{
		Replicas: s.Replicas, FullyLabeled: s.FullyLabeledReplicas, Ready: s.ReadyReplicas, Available: s.AvailableReplicas,
		ObservedGeneration: s.ObservedGeneration,
	}, field.NewPath("status"))...)
}

func replicaSetWarnings(obj, old registry.Object) []string {
	rs := obj.(*appsv1.ReplicaSet)
	if before, ok := old.(*appsv1.ReplicaSet); ok {
		return workload.TemplateWarnings(&rs.Spec.Template, &before.Spec.Template)
	}
	return append(podspec.HostnameWarnings(rs.Name, "Pod names and hostnames"), workload.TemplateWarnings(&rs.Spec.Template, nil)...)
}
