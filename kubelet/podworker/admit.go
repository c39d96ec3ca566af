package podworker

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helper "k8s.io/component-helpers/resource"
)

// Admit decides whether the node can take a pod beside those it has. The scheduler has decided the same before, from an
// older view; this is the last word. It returns why not, or nil.
func Admit(pod *corev1.Pod, others []*corev1.Pod, allocatable corev1.ResourceList) *Outcome {
	if pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers {
		return reject("UserNamespacesNotSupported", "the pod wants a user namespace of its own (hostUsers: false), which this node cannot give")
	}
	used := corev1.ResourceList{}
	count := int64(0)
	for _, other := range others {
		if other.UID == pod.UID || other.Status.Phase == corev1.PodSucceeded || other.Status.Phase == corev1.PodFailed {
			continue
		}
		if clash := portClash(pod, other); clash != "" {
			return reject("NodePorts", clash)
		}
		count++
		addTo(used, helper.PodRequests(other, helper.PodResourcesOptions{UseStatusResources: true}))
	}
	if limit, ok := allocatable[corev1.ResourcePods]; ok && count+1 > limit.Value() {
		return reject("OutOfpods", fmt.Sprintf("Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", count, limit.Value()))
	}
	for name, wanted := range helper.PodRequests(pod, helper.PodResourcesOptions{}) {
		capacity, known := allocatable[name]
		if !known || wanted.Sign() <= 0 {
			continue
		}
		total := used[name]
		total.Add(wanted)
		if total.Cmp(capacity) > 0 {
			already := used[name]
			return reject("OutOf"+string(name), fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
				name, amount(name, wanted), amount(name, already), amount(name, capacity)))
		}
	}
	return nil
}

func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

func reject(reason, message string) *Outcome {
	return &Outcome{Phase: corev1.PodFailed, Reason: reason, Message: "Pod was rejected: " + message}
}

func addTo(sum, list corev1.ResourceList) {
	for name, quantity := range list {
		total := sum[name]
		total.Add(quantity)
		sum[name] = total
	}
}

type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

func hostPorts(pod *corev1.Pod) []hostPort {
	var out []hostPort
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			port := p.HostPort
			if pod.Spec.HostNetwork && port == 0 {
				port = p.ContainerPort
			}
			if port == 0 {
				continue
			}
			protocol := p.Protocol
			if protocol == "" {
				protocol = corev1.ProtocolTCP
			}
			ip := p.HostIP
			if ip == "0.0.0.0" || ip == "::" {
				ip = ""
			}
			out = append(out, hostPort{ip, protocol, port})
		}
	}
	return out
}

// portClash names a host port that both pods want on the same address.
func portClash(a, b *corev1.Pod) string {
	for _, x := range hostPorts(a) {
		for _, y := range hostPorts(b) {
			if x.port == y.port && x.protocol == y.protocol && (x.ip == y.ip || x.ip == "" || y.ip == "") {
				return fmt.Sprintf("host port %d/%s is taken by pod %s/%s", x.port, x.protocol, b.Namespace, b.Name)
			}
		}
	}
	return ""
}
