package kube

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ServicesOf returns the Services whose selectors match a pod, shared.
func ServicesOf(c Cluster, pod *corev1.Pod) []*corev1.Service {
	found := Selecting[*corev1.Service](c, Services, pod.Namespace, pod.Labels)
	return slices.DeleteFunc(found, func(svc *corev1.Service) bool {
		return !labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(pod.Labels))
	})
}

// SameEndpoint says whether a change of a pod leaves every endpoint made of it as it was. Most status updates do.
func SameEndpoint(old, new *corev1.Pod) bool {
	return old.UID == new.UID && equality.Semantic.DeepEqual(old.Status.PodIPs, new.Status.PodIPs) &&
		PodReady(old) == PodReady(new) && PodFinished(old) == PodFinished(new) &&
		(old.DeletionTimestamp == nil) == (new.DeletionTimestamp == nil) &&
		old.Spec.NodeName == new.Spec.NodeName && maps.Equal(old.Labels, new.Labels)
}

// TargetPort is the port that a Service's port means in a pod. A name that no container of it declares, sidecars among them, is none: the pod does
// not offer that port.
func TargetPort(p corev1.ServicePort, pod *corev1.Pod) (number int32, ok bool) {
	if p.TargetPort.Type == intstr.Int {
		if p.TargetPort.IntVal == 0 {
			return p.Port, true
		}
		return p.TargetPort.IntVal, true
	}
	for _, c := range slices.Concat(pod.Spec.Containers, sidecars(pod)) {
		for _, cp := range c.Ports {
			if cp.Name == p.TargetPort.StrVal && cp.Protocol == p.Protocol {
				return cp.ContainerPort, true
			}
		}
	}
	return 0, false
}

func sidecars(pod *corev1.Pod) []corev1.Container {
	var out []corev1.Container
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}
