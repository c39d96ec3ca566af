package kinds

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func defaultDeployment(d *appsv1.Deployment) {
	spec := &d.Spec
	if spec.Replicas == nil {
		spec.Replicas = ptr.To[int32](1)
	}
	if spec.Strategy.Type == "" {
		spec.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if spec.Strategy.RollingUpdate == nil {
			spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		r := spec.Strategy.RollingUpdate
		if r.MaxUnavailable == nil {
			r.MaxUnavailable = ptr.To(intstr.FromString("25%"))
		}
		if r.MaxSurge == nil {
			r.MaxSurge = ptr.To(intstr.FromString("25%"))
		}
	}
	if spec.RevisionHistoryLimit == nil {
		spec.RevisionHistoryLimit = ptr.To[int32](10)
	}
	if spec.ProgressDeadlineSeconds == nil {
		spec.ProgressDeadlineSeconds = ptr.To[int32](600)
	}
	defaultPodTemplate(&spec.Template)
}

func prepareDeployment(d *appsv1.Deployment) {
	d.Status = appsv1.DeploymentStatus{}
	d.Generation = 1
	prepareTemplate(&d.Spec.Template)
}

// prepareDeploymentUpdate counts a change of annotations as a new wish: a rollback used to be asked for by them.
func prepareDeploymentUpdate(d, old *appsv1.Deployment) {
	d.Status = old.Status
	prepareTemplate(&d.Spec.Template)
	bumpGeneration(d, old, !same(d.Spec, old.Spec) || !same(d.Annotations, old.Annotations))
}

func prepareDeploymentStatus(d, old *appsv1.Deployment) {
	d.Spec = old.Spec
	d.Labels = old.Labels
	d.Generation = old.Generation
}

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	errs := validateMeta(d, true, apivalidation.NameIsDNSSubdomain)
	return append(errs, validateDeploymentSpec(&d.Spec, nil, field.NewPath("spec"))...)
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	errs := validateMetaUpdate(d, old)
	errs = append(errs, validateDeploymentSpec(&d.Spec, &old.Spec, field.NewPath("spec"))...)
	return append(errs, immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateDeploymentSpec(spec, old *appsv1.DeploymentSpec, path *field.Path) field.ErrorList {
	errs := nonNegative(int64(ptr.Deref(spec.Replicas, 0)), path.Child("replicas"))
	errs = append(errs, validateWorkloadSelector(spec.Selector, path.Child("selector"))...)
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), spec.Selector, "invalid label selector"))
	} else {
		var oldTemplate *corev1.PodTemplateSpec
		if old != nil {
			oldTemplate = &old.Template
		}
		errs = append(errs, validateWorkloadTemplate(&spec.Template, oldTemplate, selector, path.Child("template"))...)
	}
	errs = append(errs, validateDeploymentStrategy(&spec.Strategy, path.Child("strategy"))...)
	errs = append(errs, nonNegative(int64(spec.MinReadySeconds), path.Child("minReadySeconds"))...)
	if spec.RevisionHistoryLimit != nil {
		errs = append(errs, nonNegative(int64(*spec.RevisionHistoryLimit), path.Child("revisionHistoryLimit"))...)
	}
	if spec.ProgressDeadlineSeconds != nil {
		deadline := path.Child("progressDeadlineSeconds")
		errs = append(errs, nonNegative(int64(*spec.ProgressDeadlineSeconds), deadline)...)
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
	errs := validateIntOrPercent(unavailable, path.Child("maxUnavailable"))
	errs = append(errs, validateIntOrPercent(surge, path.Child("maxSurge"))...)
	if numberOrPercent(unavailable) == 0 && numberOrPercent(surge) == 0 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), r.MaxUnavailable, "may not be 0 when `maxSurge` is 0"))
	}
	if unavailable.Type == intstr.String && numberOrPercent(unavailable) > 100 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), r.MaxUnavailable, "must not be greater than 100%"))
	}
	return errs
}

// validateIntOrPercent accepts 0, 3 or "25%".
func validateIntOrPercent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.String {
		return invalid(path, v, validation.IsValidPercent(v.StrVal))
	}
	return nonNegative(int64(v.IntVal), path)
}

// numberOrPercent is the figure in either form; what is not a figure at all counts as 0 and has a fault of its own.
func numberOrPercent(v intstr.IntOrString) int {
	if v.Type == intstr.Int {
		return v.IntValue()
	}
	if len(validation.IsValidPercent(v.StrVal)) > 0 {
		return 0
	}
	n, _ := strconv.Atoi(v.StrVal[:len(v.StrVal)-1])
	return n
}

func validateDeploymentStatus(d, old *appsv1.Deployment) field.ErrorList {
	errs := validateMetaUpdate(d, old)
	path, s := field.NewPath("status"), &d.Status
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"observedGeneration", s.ObservedGeneration}, {"replicas", int64(s.Replicas)},
		{"updatedReplicas", int64(s.UpdatedReplicas)}, {"readyReplicas", int64(s.ReadyReplicas)},
		{"availableReplicas", int64(s.AvailableReplicas)}, {"unavailableReplicas", int64(s.UnavailableReplicas)},
	} {
		errs = append(errs, nonNegative(f.value, path.Child(f.name))...)
	}
	if s.CollisionCount != nil {
		errs = append(errs, nonNegative(int64(*s.CollisionCount), path.Child("collisionCount"))...)
		if old.Status.CollisionCount != nil && *s.CollisionCount < *old.Status.CollisionCount {
			errs = append(errs, field.Invalid(path.Child("collisionCount"), *s.CollisionCount, "cannot be decremented"))
		}
	}
	errs = append(errs, notMore(s.UpdatedReplicas, s.Replicas, "status.replicas", path.Child("updatedReplicas"))...)
	errs = append(errs, notMore(s.ReadyReplicas, s.Replicas, "status.replicas", path.Child("readyReplicas"))...)
	errs = append(errs, notMore(s.AvailableReplicas, s.Replicas, "status.replicas", path.Child("availableReplicas"))...)
	return append(errs, notMore(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas", path.Child("availableReplicas"))...)
}

// deploymentScale shows the replicas of a Deployment to those who scale without knowing what they scale.
func deploymentScale(d *appsv1.Deployment) *autoscalingv1.Scale {
	return scaleView(d, ptr.Deref(d.Spec.Replicas, 0), d.Status.Replicas, d.Spec.Selector)
}

func scaleDeployment(d *appsv1.Deployment, scale *autoscalingv1.Scale) error {
	d.Spec.Replicas = ptr.To(scale.Spec.Replicas)
	return takeScaleMeta(d, scale)
}

func deploymentWarnings(obj, old Object) []string {
	d := obj.(*appsv1.Deployment)
	if before, ok := old.(*appsv1.Deployment); ok {
		return templateWarnings(&d.Spec.Template, &before.Spec.Template)
	}
	return append(hostnameWarnings(d.Name, "Pod names and hostnames"), templateWarnings(&d.Spec.Template, nil)...)
}

func deploymentCells(d *appsv1.Deployment) []any {
	names, images := containerCells(d.Spec.Template.Spec.Containers)
	ready := strconv.Itoa(int(d.Status.ReadyReplicas)) + "/" + strconv.Itoa(int(ptr.Deref(d.Spec.Replicas, 0)))
	return []any{d.Name, ready, int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas),
		age(d.CreationTimestamp), names, images, metav1.FormatLabelSelector(d.Spec.Selector)}
}
