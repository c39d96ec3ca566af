package kinds

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// What Deployments and ReplicaSets, and the workloads to come, have in common.

func nonNegative(value int64, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(value, path)
}

// notMore holds a count of pods below the count that includes it.
func notMore(count, all int32, name string, path *field.Path) field.ErrorList {
	if count > all {
		return field.ErrorList{field.Invalid(path, count, "cannot be greater than "+name)}
	}
	return nil
}

// validateWorkloadSelector refuses a selector that is absent or selects everything.
func validateWorkloadSelector(selector *metav1.LabelSelector, path *field.Path) field.ErrorList {
	if selector == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{}, path)
	if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, selector, "empty selector is invalid for deployment"))
	}
	return errs
}

// validateWorkloadTemplate checks the pods to be: a valid specification, selected by the workload, and living for ever.
func validateWorkloadTemplate(template, old *corev1.PodTemplateSpec, selector labels.Selector, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !selector.Empty() && !selector.Matches(labels.Set(template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("metadata", "labels"), template.Labels, "`selector` does not match template `labels`"))
	}
	errs = append(errs, validatePodTemplate(template, old, path)...)
	if template.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), template.Spec.RestartPolicy,
			[]corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if template.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported"))
	}
	return errs
}

// scaleView is the Scale of a workload.
func scaleView(obj Object, wanted, present int32, selector *metav1.LabelSelector) *autoscalingv1.Scale {
	return &autoscalingv1.Scale{
		TypeMeta: metav1.TypeMeta{Kind: "Scale", APIVersion: autoscalingv1.SchemeGroupVersion.String()},
		ObjectMeta: metav1.ObjectMeta{
			Name:              obj.GetName(),
			Namespace:         obj.GetNamespace(),
			UID:               obj.GetUID(),
			ResourceVersion:   obj.GetResourceVersion(),
			CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: wanted},
		Status: autoscalingv1.ScaleStatus{Replicas: present, Selector: metav1.FormatLabelSelector(selector)},
	}
}

// takeScaleMeta checks that the Scale speaks of this object and lets its resourceVersion, if any, guard the write.
func takeScaleMeta(obj Object, scale *autoscalingv1.Scale) error {
	if scale.Name != obj.GetName() {
		return errkind.New(errkind.Invalid, "scale is named %q, the object %q", scale.Name, obj.GetName())
	}
	if scale.UID != "" && scale.UID != obj.GetUID() {
		return errkind.New(errkind.Conflict, "Precondition failed: UID in precondition: %v, UID in object meta: %v", scale.UID, obj.GetUID())
	}
	if scale.Spec.Replicas < 0 {
		errs := nonNegative(int64(scale.Spec.Replicas), field.NewPath("spec", "replicas"))
		return apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), scale.Name, errs)
	}
	if scale.ResourceVersion != "" {
		obj.SetResourceVersion(scale.ResourceVersion)
	}
	return nil
}

// templateWarnings are the warnings of the pods that a workload makes; an update that leaves them alone has none.
func templateWarnings(template, old *corev1.PodTemplateSpec) []string {
	if old != nil && same(template, old) {
		return nil
	}
	return podSpecWarnings(&template.Spec, field.NewPath("spec", "template", "spec"))
}
