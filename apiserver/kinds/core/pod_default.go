package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
)

// defaultPod fills a pod itself: what every template gets too, and a few things that only real pods get.
func defaultPod(pod *corev1.Pod) {
	podspec.Default(&pod.Spec)
	if pod.Spec.EnableServiceLinks == nil {
		pod.Spec.EnableServiceLinks = ptr.To(corev1.DefaultEnableServiceLinks)
	}
	podspec.RequestsFromLimits(&pod.Spec)
	podspec.PodRequests(&pod.Spec)
	if pod.Spec.HostNetwork {
		podspec.DefaultHostPorts(pod.Spec.InitContainers)
		podspec.DefaultHostPorts(pod.Spec.Containers)
	}
	defaultPodStatus(&pod.Status)
}

// defaultPodStatus keeps the single addresses equal to the first of the lists; the single one wins, as old nodes set only it.
func defaultPodStatus(status *corev1.PodStatus) {
	switch {
	case status.PodIP != "" && (len(status.PodIPs) == 0 || status.PodIPs[0].IP != status.PodIP):
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	case status.PodIP == "" && len(status.PodIPs) > 0:
		status.PodIP = status.PodIPs[0].IP
	}
	switch {
	case status.HostIP != "" && (len(status.HostIPs) == 0 || status.HostIPs[0].IP != status.HostIP):
		status.HostIPs = []corev1.HostIP{{IP: status.HostIP}}
	case status.HostIP == "" && len(status.HostIPs) > 0:
		status.HostIP = status.HostIPs[0].IP
	}
}
