package kinds

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// preparePod gives a new pod the status it starts with: pending, its quality of service, and whether gates hold it back.
func preparePod(pod *corev1.Pod) {
	pod.Generation = 1
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(&pod.Spec)}
	dropGated(&pod.Spec)
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = []corev1.PodCondition{{
			Type:    corev1.PodScheduled,
			Status:  corev1.ConditionFalse,
			Reason:  corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
}

func prepareTemplate(template *corev1.PodTemplateSpec) { dropGated(&template.Spec) }

func preparePodUpdate(pod, old *corev1.Pod) {
	pod.Status = old.Status
	dropGated(&pod.Spec)
	bumpGeneration(pod, old, !same(pod.Spec, old.Spec))
}

// preparePodStatus lets a status write touch the status alone. Owners and the deletion mark are not for a node to change.
func preparePodStatus(pod, old *corev1.Pod) {
	pod.Spec = old.Spec
	pod.Generation = old.Generation
	pod.OwnerReferences = old.OwnerReferences
	pod.DeletionTimestamp = old.DeletionTimestamp
	pod.DeletionGracePeriodSeconds = old.DeletionGracePeriodSeconds
	pod.Status.QOSClass = old.Status.QOSClass
	defaultPodStatus(&pod.Status)
}

// preparePodEphemeral takes the ephemeral containers from the request and everything else from the stored pod.
func preparePodEphemeral(pod, old *corev1.Pod) {
	wanted := pod.Spec.EphemeralContainers
	version := pod.ResourceVersion
	fields := pod.ManagedFields
	old.DeepCopyInto(pod)
	pod.Spec.EphemeralContainers = wanted
	pod.ResourceVersion, pod.ManagedFields = version, fields
	bumpGeneration(pod, old, !same(pod.Spec, old.Spec))
}

// qosClass is what the resources of a pod promise it: Guaranteed when every container has limits for cpu and memory that
// equal its requests, BestEffort when none has any, else Burstable. Resources of the pod as a whole decide if given.
func qosClass(spec *corev1.PodSpec) corev1.PodQOSClass {
	if spec.Resources != nil {
		return qosOf([]corev1.ResourceRequirements{*spec.Resources})
	}
	var all []corev1.ResourceRequirements
	for _, c := range spec.Containers {
		all = append(all, c.Resources)
	}
	for _, c := range spec.InitContainers {
		all = append(all, c.Resources)
	}
	return qosOf(all)
}

func qosOf(all []corev1.ResourceRequirements) corev1.PodQOSClass {
	guaranteed, asked := true, false
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := r.Requests[name], r.Limits[name]
			asked = asked || !request.IsZero() || !limit.IsZero()
			if limit.IsZero() || (!request.IsZero() && request.Cmp(limit) != 0) {
				guaranteed = false
			}
		}
	}
	switch {
	case !asked:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// bindPod assigns a pod to the node of a Binding. Pods on their way out, assigned ones and gated ones are refused.
func bindPod(parent Object, sub runtime.Object) (Object, error) {
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

// podGrace is how long a pod may take to end: what the request says, else what the pod says; at once if it never ran or has
// ended. A second request may shorten the time, never lengthen it.
func podGrace(obj Object, requested *int64) int64 {
	pod := obj.(*corev1.Pod)
	grace := int64(0)
	switch {
	case requested != nil:
		grace = *requested
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		grace = 0
	}
	if grace < 0 {
		grace = 1
	}
	if given := pod.DeletionGracePeriodSeconds; given != nil && *given < grace {
		grace = *given
	}
	return grace
}

var podFieldNames = []string{
	"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
	"status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
}

func podFields(obj Object) fields.Set {
	pod := obj.(*corev1.Pod)
	return withMetaFields(obj, fields.Set{
		"spec.nodeName":            pod.Spec.NodeName,
		"spec.restartPolicy":       string(pod.Spec.RestartPolicy),
		"spec.schedulerName":       pod.Spec.SchedulerName,
		"spec.serviceAccountName":  pod.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(pod.Spec.HostNetwork),
		"status.phase":             string(pod.Status.Phase),
		"status.podIP":             pod.Status.PodIP,
		"status.podIPs":            podIPs(pod),
		"status.nominatedNodeName": pod.Status.NominatedNodeName,
	})
}

// podIPs is the first address, as upstream's selector sees it.
func podIPs(pod *corev1.Pod) string {
	if len(pod.Status.PodIPs) == 0 {
		return ""
	}
	return pod.Status.PodIPs[0].IP
}
