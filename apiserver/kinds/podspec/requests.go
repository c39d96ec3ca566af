package podspec

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
)

// RequestsFromLimits takes a limit as the request of a container that gives none.
func RequestsFromLimits(spec *corev1.PodSpec) {
	fill := func(r *corev1.ResourceRequirements) {
		for name, limit := range r.Limits {
			if _, given := r.Requests[name]; given {
				continue
			}
			if r.Requests == nil {
				r.Requests = corev1.ResourceList{}
			}
			r.Requests[name] = limit.DeepCopy()
		}
	}
	for i := range spec.Containers {
		fill(&spec.Containers[i].Resources)
	}
	for i := range spec.InitContainers {
		fill(&spec.InitContainers[i].Resources)
	}
}

// PodRequests completes the requests of a pod that has limits as a whole: what its containers request together, else the limit.
func PodRequests(spec *corev1.PodSpec) {
	if spec.Resources == nil || len(spec.Resources.Limits) == 0 {
		return
	}
	requests := spec.Resources.Requests.DeepCopy()
	fill := func(from corev1.ResourceList) {
		for name, quantity := range from {
			if _, given := requests[name]; given || !podLevel(name) {
				continue
			}
			if requests == nil {
				requests = corev1.ResourceList{}
			}
			requests[name] = quantity.DeepCopy()
		}
	}
	together := containerRequests(spec)
	for name := range together {
		if check.HugePages(name) {
			delete(together, name) // they cannot be overcommitted, so the limit is the request
		}
	}
	fill(together)
	fill(spec.Resources.Limits)
	spec.Resources.Requests = requests
}

// podLevel is true for the resources that a pod as a whole may ask for.
func podLevel(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || check.HugePages(name)
}

// containerRequests is what the containers of a pod need at the most demanding moment of its life: all of them together once it
// runs, or one init container with the sidecars that were started before it.
func containerRequests(spec *corev1.PodSpec) corev1.ResourceList {
	total, sidecars, peak := corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}
	for i := range spec.Containers {
		addTo(total, spec.Containers[i].Resources.Requests)
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		moment := sidecars.DeepCopy()
		addTo(moment, c.Resources.Requests)
		if RestartableInit(c) {
			addTo(total, c.Resources.Requests)
			addTo(sidecars, c.Resources.Requests)
		}
		raise(peak, moment)
	}
	raise(total, peak)
	return total
}

func addTo(sum, list corev1.ResourceList) {
	for name, quantity := range list {
		now := sum[name]
		now.Add(quantity)
		sum[name] = now
	}
}

func raise(high, list corev1.ResourceList) {
	for name, quantity := range list {
		if now, ok := high[name]; !ok || quantity.Cmp(now) > 0 {
			high[name] = quantity.DeepCopy()
		}
	}
}
