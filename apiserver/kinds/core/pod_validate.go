package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// podWarnings are what is legal and probably not meant. An update warns only of what it brings.
func podWarnings(obj, old registry.Object) []string {
	pod := obj.(*corev1.Pod)
	before, update := old.(*corev1.Pod)
	if update && pod.Generation == before.Generation { // it counts the changes of the specification
		return nil
	}
	warnings := podspec.Warnings(&pod.Spec, field.NewPath("spec"))
	if !update && pod.Spec.Hostname == "" {
		warnings = append(podspec.HostnameWarnings(pod.Name, "the Pod's hostname"), warnings...)
	}
	return warnings
}

// validatePod checks a new pod. The checks of its parts lie in the files beside this one: validate_pod_container.go,
// _env, _probe, _volume, _scheduling, _security, and _update for what may change later.
func validatePod(pod *corev1.Pod) field.ErrorList {
	spec := field.NewPath("spec")
	errs := meta.Validate(pod, true, apivalidation.NameIsDNSSubdomain)
	errs = append(errs, podspec.Validate(&pod.Spec, spec)...)
	if len(pod.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if pod.Spec.NodeName != "" && len(pod.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}
