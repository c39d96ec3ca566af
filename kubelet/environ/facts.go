package environ

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Facts is what a pod may ask about itself that is not in its spec.
type Facts struct {
	NodeName    string
	HostIPs     []string
	PodIPs      []string
	Allocatable corev1.ResourceList // the node's: what "no limit" means
}

// Field resolves a fieldRef of the downward API.
func (f Facts) Field(pod *corev1.Pod, path string) (string, error) {
	if group, key, ok := subscript(path); ok {
		switch group {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
		return "", errkind.New(errkind.Invalid, "unsupported fieldPath %q", path)
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	case "spec.nodeName":
		return f.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(f.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(f.HostIPs, ","), nil
	case "status.podIP":
		return first(f.PodIPs), nil
	case "status.podIPs":
		return strings.Join(f.PodIPs, ","), nil
	default:
		return "", errkind.New(errkind.Invalid, "unsupported fieldPath %q", path)
	}
}

// subscript splits metadata.labels['key'].
func subscript(path string) (group, key string, ok bool) {
	group, rest, ok := strings.Cut(path, "['")
	if !ok || !strings.HasSuffix(rest, "']") {
		return "", "", false
	}
	return group, strings.TrimSuffix(rest, "']"), true
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func lines(m map[string]string) string {
	var out []string
	for key, value := range m {
		out = append(out, fmt.Sprintf("%s=%q", key, value))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// Resource resolves a resourceFieldRef: a request or limit of a container, rounded up to whole divisors. A limit that is
// not set is the node's.
func (f Facts) Resource(pod *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" {
		c = find(pod, ref.ContainerName)
		if c == nil {
			return "", errkind.New(errkind.NotFound, "resourceFieldRef: the pod has no container %q", ref.ContainerName)
		}
	}
	if c == nil {
		return "", errkind.New(errkind.Invalid, "resourceFieldRef %q names no container", ref.Resource)
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	var quantity resource.Quantity
	switch kind {
	case "limits":
		limit, ok := c.Resources.Limits[corev1.ResourceName(name)]
		if !ok {
			limit = f.Allocatable[corev1.ResourceName(name)]
		}
		quantity = limit
	case "requests":
		quantity = c.Resources.Requests[corev1.ResourceName(name)]
	default:
		return "", errkind.New(errkind.Invalid, "unsupported container resource: %v", ref.Resource)
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(corev1.ResourceCPU) {
		return ceil(float64(quantity.MilliValue()) / float64(divisor.MilliValue())), nil
	}
	return ceil(float64(quantity.Value()) / float64(divisor.Value())), nil
}

func ceil(v float64) string { return strconv.FormatInt(int64(math.Ceil(v)), 10) }

func find(pod *corev1.Pod, name string) *corev1.Container {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i]
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i]
		}
	}
	return nil
}
