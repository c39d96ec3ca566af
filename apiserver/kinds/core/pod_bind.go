package core

import (
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// bindPod assigns a pod to the node of a Binding. Pods on their way out, assigned ones and gated ones are refused.
func bindPod(parent registry.Object, sub runtime.Object) (registry.Object, error) {
	binding := sub.(*corev1.Binding)
	pod := parent.(*corev1.Pod).DeepCopy()
	if errs := validateBinding(binding); len(errs) > 0 {
		return nil, apierrors.NewInvalid(coreKind("Binding").GroupKind(), binding.Name, errs)
	}
	if binding.UID != "" && binding.UID != pod.UID {
		return nil, errkind.New(errkind.Conflict, "Precondition failed: UID in precondition: %v, UID in object meta: %v", binding.UID, pod.UID)
	}
	if binding.ResourceVersion != "" && binding.ResourceVersion != pod.ResourceVersion {
		return nil, errkind.New(errkind.Conflict, "Precondition failed: ResourceVersion in precondition: %v, ResourceVersion in object meta: %v",
			binding.ResourceVersion, pod.ResourceVersion)
	}
	switch {
	case pod.DeletionTimestamp != nil:
		return nil, errkind.New(errkind.Conflict, "pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return nil, errkind.New(errkind.Conflict, "pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return nil, errkind.New(errkind.Conflict, "pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Spec.NodeName = binding.Target.Name
	for key, value := range binding.Annotations {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[key] = value
	}
	for key, value := range binding.Labels {
		if pod.Labels == nil {
			pod.Labels = map[string]string{}
		}
		pod.Labels[key] = value
	}
	pod.Status.NominatedNodeName = ""
	setPodCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	pod.Generation++ // the assignment is part of the wanted state
	return pod, nil
}

func validateBinding(binding *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("target")
	if kind := binding.Target.Kind; kind != "" && kind != "Node" {
		errs = append(errs, field.NotSupported(path.Child("kind"), kind, []string{"Node", "<empty>"}))
	}
	if binding.Target.Name == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	return errs
}

// setPodCondition sets one condition; the time of transition changes with the status only.
func setPodCondition(pod *corev1.Pod, condition corev1.PodCondition) {
	condition.LastTransitionTime = metav1.Now()
	for i, c := range pod.Status.Conditions {
		if c.Type != condition.Type {
			continue
		}
		if c.Status == condition.Status {
			condition.LastTransitionTime = c.LastTransitionTime
		}
		pod.Status.Conditions[i] = condition
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, condition)
}
