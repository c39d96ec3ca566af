package kinds

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func defaultReplicaSet(rs *appsv1.ReplicaSet) {
	if rs.Spec.Replicas == nil {
		rs.Spec.Replicas = ptr.To[int32](1)
	}
	defaultPodTemplate(&rs.Spec.Template)
}

func prepareReplicaSet(rs *appsv1.ReplicaSet) {
	rs.Status = appsv1.ReplicaSetStatus{}
	rs.Generation = 1
	prepareTemplate(&rs.Spec.Template)
}

func prepareReplicaSetUpdate(rs, old *appsv1.ReplicaSet) {
	rs.Status = old.Status
	prepareTemplate(&rs.Spec.Template)
	bumpGeneration(rs, old, !same(rs.Spec, old.Spec))
}

func prepareReplicaSetStatus(rs, old *appsv1.ReplicaSet) {
	rs.Spec = old.Spec
	rs.Generation = old.Generation
}

func validateReplicaSet(rs *appsv1.ReplicaSet) field.ErrorList {
	errs := validateMeta(rs, true, apivalidation.NameIsDNSSubdomain)
	return append(errs, validateReplicaSetSpec(&rs.Spec, nil, field.NewPath("spec"))...)
}

func validateReplicaSetUpdate(rs, old *appsv1.ReplicaSet) field.ErrorList {
	errs := validateMetaUpdate(rs, old)
	errs = append(errs, validateReplicaSetSpec(&rs.Spec, &old.Spec, field.NewPath("spec"))...)
	return append(errs, immutable(rs.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateReplicaSetSpec(spec, old *appsv1.ReplicaSetSpec, path *field.Path) field.ErrorList {
	errs := nonNegative(int64(ptr.Deref(spec.Replicas, 0)), path.Child("replicas"))
	errs = append(errs, nonNegative(int64(spec.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, validateWorkloadSelector(spec.Selector, path.Child("selector"))...)
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err != nil {
		return append(errs, field.Invalid(path.Child("selector"), spec.Selector, "invalid label selector"))
	}
	var oldTemplate *corev1.PodTemplateSpec
	if old != nil {
		oldTemplate = &old.Template
	}
	return append(errs, validateWorkloadTemplate(&spec.Template, oldTemplate, selector, path.Child("template"))...)
}

func validateReplicaSetStatus(rs, old *appsv1.ReplicaSet) field.ErrorList {
	errs := validateMetaUpdate(rs, old)
	path, s := field.NewPath("status"), &rs.Status
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"replicas", int64(s.Replicas)}, {"fullyLabeledReplicas", int64(s.FullyLabeledReplicas)},
		{"readyReplicas", int64(s.ReadyReplicas)}, {"availableReplicas", int64(s.AvailableReplicas)},
		{"observedGeneration", s.ObservedGeneration},
	} {
		errs = append(errs, nonNegative(f.value, path.Child(f.name))...)
	}
	errs = append(errs, notMore(s.FullyLabeledReplicas, s.Replicas, "status.replicas", path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, notMore(s.ReadyReplicas, s.Replicas, "status.replicas", path.Child("readyReplicas"))...)
	errs = append(errs, notMore(s.AvailableReplicas, s.Replicas, "status.replicas", path.Child("availableReplicas"))...)
	return append(errs, notMore(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas", path.Child("availableReplicas"))...)
}

func replicaSetScale(rs *appsv1.ReplicaSet) *autoscalingv1.Scale {
	return scaleView(rs, ptr.Deref(rs.Spec.Replicas, 0), rs.Status.Replicas, rs.Spec.Selector)
}

func scaleReplicaSet(rs *appsv1.ReplicaSet, scale *autoscalingv1.Scale) error {
	rs.Spec.Replicas = ptr.To(scale.Spec.Replicas)
	return takeScaleMeta(rs, scale)
}

func replicaSetWarnings(obj, old Object) []string {
	rs := obj.(*appsv1.ReplicaSet)
	if before, ok := old.(*appsv1.ReplicaSet); ok {
		return templateWarnings(&rs.Spec.Template, &before.Spec.Template)
	}
	return append(hostnameWarnings(rs.Name, "Pod names and hostnames"), templateWarnings(&rs.Spec.Template, nil)...)
}

func replicaSetFields(obj Object) fields.Set {
	replicas := strconv.Itoa(int(obj.(*appsv1.ReplicaSet).Status.Replicas))
	return withMetaFields(obj, fields.Set{"status.replicas": replicas})
}

func replicaSetCells(rs *appsv1.ReplicaSet) []any {
	names, images := containerCells(rs.Spec.Template.Spec.Containers)
	return []any{rs.Name, int64(ptr.Deref(rs.Spec.Replicas, 0)), int64(rs.Status.Replicas), int64(rs.Status.ReadyReplicas),
		age(rs.CreationTimestamp), names, images, metav1.FormatLabelSelector(rs.Spec.Selector)}
}
