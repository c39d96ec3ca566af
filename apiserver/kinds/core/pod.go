package core

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func pods() *registry.Kind {
	return &registry.Kind{
		GVK:              coreKind("Pod"),
		Resource:         "pods",
		Singular:         "pod",
		ShortNames:       []string{"po"},
		Categories:       []string{"all"},
		Namespaced:       true,
		StoragePrefix:    "pods",
		New:              func() registry.Object { return &corev1.Pod{} },
		NewList:          func() runtime.Object { return &corev1.PodList{} },
		Default:          meta.One(defaultPod),
		PrepareCreate:    meta.One(preparePod),
		PrepareUpdate:    meta.Two(preparePodUpdate),
		ValidateCreate:   meta.Faults(validatePod),
		ValidateUpdate:   meta.FaultsOf(validatePodUpdate),
		Warnings:         podWarnings,
		Fields:           podFields,
		SelectableFields: podFieldNames,
		Columns:          podColumns(),
		Cells:            meta.Cells(podCells),
		GracefulDelete:   podGrace,
		AnswerDeleted:    true,
		Subresources: []registry.Subresource{
			{Name: "attach", GVK: coreKind("PodAttachOptions"), Verbs: []string{"create", "get"}, Stream: registry.Attach, Options: attachOptions},
			{
				Name:  "binding",
				GVK:   coreKind("Binding"),
				Verbs: []string{"create"},
				New:   func() runtime.Object { return &corev1.Binding{} },
				Into:  bindPod,
				// bindPod changes what an update may not, and has checked it.
				PrepareUpdate:  func(_, _ registry.Object) {},
				ValidateUpdate: func(_, _ registry.Object) field.ErrorList { return nil },
			},
			{
				Name:           "ephemeralcontainers",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(preparePodEphemeral),
				ValidateUpdate: meta.FaultsOf(validatePodEphemeral),
			},
			{
				Name:   "eviction",
				GVK:    policyv1.SchemeGroupVersion.WithKind("Eviction"),
				Verbs:  []string{"create"},
				New:    func() runtime.Object { return &policyv1.Eviction{} },
				Action: registry.Evict,
			},
			{Name: "exec", GVK: coreKind("PodExecOptions"), Verbs: []string{"create", "get"}, Stream: registry.Exec, Options: execOptions},
			{Name: "log", Verbs: []string{"get"}, Stream: registry.Log},
			{Name: "portforward", GVK: coreKind("PodPortForwardOptions"), Verbs: []string{"create", "get"}, Stream: registry.PortForward, Options: forwardOptions},
			{Name: "proxy", GVK: coreKind("PodProxyOptions"), Verbs: meta.ProxyVerbs(), Stream: registry.PodProxy, Options: podProxyOptions},
			{
				Name:           "resize",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(preparePodResize),
				ValidateUpdate: meta.FaultsOf(validatePodResize),
			},
			{
				Name:           "status",
				Verbs:          meta.StatusVerbs(),
				PrepareUpdate:  meta.Two(preparePodStatus),
				ValidateUpdate: meta.FaultsOf(validatePodStatus),
			},
		},
	}
}

// preparePod gives a new pod the status it starts with: pending, its quality of service, and whether gates hold it back.
func preparePod(pod *corev1.Pod) {
	pod.Generation = 1
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(&pod.Spec)}
	podspec.DropGated(&pod.Spec)
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = []corev1.PodCondition{{
			Type:    corev1.PodScheduled,
			Status:  corev1.ConditionFalse,
			Reason:  corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",
		}}
	}
}

func preparePodUpdate(pod, old *corev1.Pod) {
	pod.Status = old.Status
	podspec.DropGated(&pod.Spec)
	meta.BumpGeneration(pod, old, !meta.Same(pod.Spec, old.Spec))
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
	meta.BumpGeneration(pod, old, !meta.Same(pod.Spec, old.Spec))
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

// podGrace is how long a pod may take to end: what the request says, else what the pod says; at once if it never ran or has
// ended. A second request may shorten the time, never lengthen it.
func podGrace(obj registry.Object, requested *int64) int64 {
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
