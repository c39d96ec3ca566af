// Package workload holds what the kinds that make pods from a template have in common: the rules of their selectors and templates,
// their columns, and the subresource scale. Start with workload.go.
package workload

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
)

// ContainerCells are the wide columns Containers and Images of a pod template.
func ContainerCells(containers []corev1.Container) (names, images string) {
	var n, i []string
	for _, c := range containers {
		n = append(n, c.Name)
		i = append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// Columns are the wide columns that all workloads share.
func Columns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.Wide("Containers", "string", "Names of each container in the template."),
		meta.Wide("Images", "string", "Images referenced by each container in the template."),
		meta.Wide("Selector", "string", "Label selector over the pods of this object."),
	}
}

// NotMore holds a count of pods below the count that includes it.
func NotMore(count, all int32, name string, path *field.Path) field.ErrorList {
	if count > all {
		return field.ErrorList{field.Invalid(path, count, "cannot be greater than "+name)}
	}
	return nil
}

// ValidateSelector refuses a selector that is absent or selects everything.
func ValidateSelector(selector *metav1.LabelSelector, path *field.Path) field.ErrorList {
	if selector == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{}, path)
	if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, selector, "empty selector is invalid for deployment"))
	}
	return errs
}

// ValidateTemplate checks the pods to be: a valid specification, selected by the workload, and living for ever. Owner is the kind that a refusal
// names.
func ValidateTemplate(owner string, template, old *corev1.PodTemplateSpec, selector labels.Selector, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !selector.Empty() && !selector.Matches(labels.Set(template.Labels)) {
		errs = append(errs, field.Invalid(path.Child("metadata", "labels"), template.Labels, "`selector` does not match template `labels`"))
	}
	errs = append(errs, podspec.ValidateTemplate(template, old, path)...)
	if template.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), template.Spec.RestartPolicy,
			[]corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if template.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+owner+" is not Supported"))
	}
	return errs
}

// TemplateWarnings are the warnings of the pods that a workload makes; an update that leaves them alone has none.
func TemplateWarnings(template, old *corev1.PodTemplateSpec) []string {
	if old != nil && meta.Same(template, old) {
		return nil
	}
	return podspec.Warnings(&template.Spec, field.NewPath("spec", "template", "spec"))
}
