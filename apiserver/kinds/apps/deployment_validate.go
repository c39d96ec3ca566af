package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/kinds/workload"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	errs := meta.Validate(d, true, apivalidation.NameIsDNSSubdomain)
	return append(errs, validateDeploymentSpec(&d.Spec, nil, field.NewPath("spec"))...)
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	errs := meta.ValidateUpdate(d, old)
	errs = append(errs, validateDeploymentSpec(&d.Spec, &old.Spec, field.NewPath("spec"))...)
	return append(errs, check.Immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateDeploymentSpec(spec, old *appsv1.DeploymentSpec, path *field.Path) field.ErrorList {
	errs := check.NonNegative(int64(ptr.Deref(spec.Replicas, 0)), path.Child("replicas"))
	errs = append(errs, workload.ValidateSelector(spec.Selector, path.Child("selector"))...)
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), spec.Selector, "invalid label selector"))
	} else {
		var oldTemplate *corev1.PodTemplateSpec
		if old != nil {
			oldTemplate = &old.Template
		}
		errs = append(errs, workload.ValidateTemplate("ReplicaSet", &spec.Template, oldTemplate, selector, path.Child("template"))...)
	}
	errs = append(errs, validateDeploymentStrategy(&spec.Strategy, path.Child("strategy"))...)
	errs = append(errs, check.NonNegative(int64(spec.MinReadySeconds), path.Child("minReadySeconds"))...)
	if spec.RevisionHistoryLimit != nil {
		errs = append(errs, check.NonNegative(int64(*spec.RevisionHistoryLimit), path.Child("revisionHistoryLimit"))...)
	}
	if spec.ProgressDeadlineSeconds != nil {
		deadline := path.Child("progressDeadlineSeconds")
		errs = append(errs, check.NonNegative(int64(*spec.ProgressDeadlineSeconds), deadline)...)
		if *spec.ProgressDeadlineSeconds <= spec.MinReadySeconds {
			errs = append(errs, field.Invalid(deadline, *spec.ProgressDeadlineSeconds, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateDeploymentStrategy(strategy *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	switch strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if strategy.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if strategy.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "this should be defaulted and never be nil")}
		}
		return validateRollingUpdate(strategy.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, strategy, []appsv1.DeploymentStrategyType{
		appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
}

func validateRollingUpdate(r *appsv1.RollingUpdateDeployment, path *field.Path) field.ErrorList {
	unavailable, surge := ptr.Deref(r.MaxUnavailable, intstr.IntOrString{}), ptr.Deref(r.MaxSurge, intstr.IntOrString{})
	errs := check.IntOrPercent(unavailable, path.Child("maxUnavailable"))
	errs = append(errs, check.IntOrPercent(surge, path.Child("maxSurge"))...)
	if check.Figure(unavailable) == 0 && check.Figure(surge) == 0 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), r.MaxUnavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, check.NotAbove100Percent(unavailable, path.Child("maxUnavailable"))...)
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	errs := meta.ValidateUpdate(d, old)
	path, s := field.NewPath("status"), &d.Status
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"observedGeneration", s.ObservedGeneration}, {"replicas", int64(s.Replicas)},
		{"updatedReplicas", int64(s.UpdatedReplicas)}, {"readyReplicas", int64(s.ReadyReplicas)},
		{"availableReplicas", int64(s.AvailableReplicas)}, {"unavailableReplicas", int64(s.UnavailableReplicas)},
	} {
		errs = append(errs, check.NonNegative(f.value, path.Child(f.name))...)
	}
	if s.CollisionCount != nil {
		errs = append(errs, check.NonNegative(int64(*s.CollisionCount), path.Child("collisionCount"))...)
		if old.Status.CollisionCount != nil && *s.CollisionCount < *old.Status.CollisionCount {
			errs = append(errs, field.Invalid(path.Child("collisionCount"), *s.CollisionCount, "cannot be decremented"))
		}
	}
	errs = append(errs, workload.NotMore(s.UpdatedReplicas, s.Replicas, "status.replicas", path.Child("updatedReplicas"))...)
	errs = append(errs, workload.NotMore(s.ReadyReplicas, s.Replicas, "status.replicas", path.Child("readyReplicas"))...)
	errs = append(errs, workload.NotMore(s.AvailableReplicas, s.Replicas, "status.replicas", path.Child("availableReplicas"))...)
	return append(errs, workload.NotMore(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas", path.Child("availableReplicas"))...)
}

func deploymentWarnings(obj, old registry.Object) []string {
	d := obj.(*appsv1.Deployment)
	if before, ok := old.(*appsv1.Deployment); ok {
		return workload.TemplateWarnings(&d.Spec.Template, &before.Spec.Template)
	}
	return append(podspec.HostnameWarnings(d.Name, "Pod names and hostnames"), workload.TemplateWarnings(&d.Spec.Template, nil)...)
}
