package core

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
)

// preparePodResize takes the containers' resources and resize policies from the request and everything else from the stored pod. A
// container that the stored pod does not have stays in, so that validation can refuse it by name.
func preparePodResize(pod, old *corev1.Pod) {
	wanted := [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers}
	version := pod.ResourceVersion
	fields := pod.ManagedFields
	old.DeepCopyInto(pod)
	pod.Spec.Containers = resized(pod.Spec.Containers, wanted[0])
	pod.Spec.InitContainers = resized(pod.Spec.InitContainers, wanted[1])
	pod.ResourceVersion, pod.ManagedFields = version, fields
	meta.BumpGeneration(pod, old, !meta.Same(pod.Spec, old.Spec))
}

func resized(stored, wanted []corev1.Container) []corev1.Container {
	if len(stored) != len(wanted) {
		return wanted
	}
	for i := range wanted {
		if stored[i].Name != wanted[i].Name {
			return wanted
		}
	}
	for i := range wanted {
		stored[i].Resources = wanted[i].Resources
		stored[i].ResizePolicy = wanted[i].ResizePolicy
	}
	return stored
}

// validatePodResize lets a running pod's containers have other amounts of cpu and memory, as long as what the pod was promised (its
// quality of service) stays the same, and nothing that was asked for or limited goes away.
func validatePodResize(pod, old *corev1.Pod) field.ErrorList {
	spec := field.NewPath("spec")
	errs := meta.ValidateUpdate(pod, old)
	if stop, faults := sameContainers(pod, old, spec); stop {
		return append(errs, faults...)
	}
	errs = append(errs, resizedContainers(pod.Spec.Containers, old.Spec.Containers, spec.Child("containers"), func(*corev1.Container) bool { return true })...)
	errs = append(errs, resizedContainers(pod.Spec.InitContainers, old.Spec.InitContainers, spec.Child("initContainers"), sidecar)...)
	if now, was := qosClass(&pod.Spec), qosClass(&old.Spec); now != was {
		errs = append(errs, field.Invalid(spec, now, fmt.Sprintf("Pod QOS Class may not change as a result of resizing: it is %s", was)))
	}
	return append(errs, podspec.Validate(&pod.Spec, spec)...)
}

func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func resizedContainers(now, before []corev1.Container, at *field.Path, may func(*corev1.Container) bool) field.ErrorList {
	var errs field.ErrorList
	for i := range now {
		at := at.Index(i)
		if now[i].Name != before[i].Name {
			errs = append(errs, field.Forbidden(at.Child("name"), "containers may not be renamed or reordered on resize"))
			continue
		}
		if meta.Same(now[i].Resources, before[i].Resources) {
			continue
		}
		if !may(&now[i]) {
			errs = append(errs, field.Forbidden(at.Child("resources"), "of the init containers, only sidecars can be resized: others have done their work"))
			continue
		}
		errs = append(errs, resizedList("requests", now[i].Resources.Requests, before[i].Resources.Requests, at.Child("resources", "requests"))...)
		errs = append(errs, resizedList("limits", now[i].Resources.Limits, before[i].Resources.Limits, at.Child("resources", "limits"))...)
		if !meta.Same(now[i].Resources.Claims, before[i].Resources.Claims) {
			errs = append(errs, field.Forbidden(at.Child("resources", "claims"), "only cpu and memory resources are mutable"))
		}
	}
	return errs
}

// resizable are the resources that the kernel can change under a running process.
var resizable = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

func resizedList(what string, now, before corev1.ResourceList, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(before)) {
		was := before[name]
		is, kept := now[name]
		switch {
		case !kept && slices.Contains(resizable, name):
			errs = append(errs, field.Forbidden(at.Key(string(name)), "resource "+what+" cannot be removed"))
		case !slices.Contains(resizable, name) && (!kept || is.Cmp(was) != 0):
			errs = append(errs, field.Forbidden(at.Key(string(name)), "only cpu and memory resources are mutable"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if _, had := before[name]; !had && !slices.Contains(resizable, name) {
			errs = append(errs, field.Forbidden(at.Key(string(name)), "only cpu and memory resources are mutable"))
		}
	}
	return errs
}
