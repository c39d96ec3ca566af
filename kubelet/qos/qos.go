// Package qos puts pods into the three classes that decide who gives way first when a node runs out of something.
//
// It is pure arithmetic on specs. Start with Of.
package qos

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Of returns the class of a pod: Guaranteed if every container has equal requests and limits for cpu and memory,
// BestEffort if none has any, Burstable otherwise.
func Of(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	if r := pod.Spec.Resources; r != nil && (len(r.Requests) > 0 || len(r.Limits) > 0) {
		return classOf([]corev1.ResourceRequirements{*r})
	}
	var all []corev1.ResourceRequirements
	for i := range pod.Spec.InitContainers {
		all = append(all, pod.Spec.InitContainers[i].Resources)
	}
	for i := range pod.Spec.Containers {
		all = append(all, pod.Spec.Containers[i].Resources)
	}
	return classOf(all)
}

func classOf(all []corev1.ResourceRequirements) corev1.PodQOSClass {
	guaranteed, any := true, false
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := quantity(r.Requests, name), quantity(r.Limits, name)
			if request.Sign() > 0 || limit.Sign() > 0 {
				any = true
			}
			if limit.Sign() <= 0 || (request.Sign() > 0 && request.Cmp(limit) != 0) {
				guaranteed = false
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	default:
		return corev1.PodQOSBurstable
	}
}

func quantity(list corev1.ResourceList, name corev1.ResourceName) resource.Quantity {
	return list[name]
}

// OOMScoreAdj says how early the kernel should kill a container when memory runs out: the less of the node's memory it asked for, compared
// with its neighbours, the earlier.
func OOMScoreAdj(pod *corev1.Pod, c *corev1.Container, capacity int64) int64 {
	switch Of(pod) {
	case corev1.PodQOSGuaranteed:
		return -997
	case corev1.PodQOSBestEffort:
		return 1000
	}
	if capacity <= 0 {
		return 999
	}
	request := c.Resources.Requests[corev1.ResourceMemory]
	score := 1000 - (1000*request.Value())/capacity
	return min(max(score, 3), 999)
}
