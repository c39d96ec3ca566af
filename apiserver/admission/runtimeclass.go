package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

var runtimeClassResource = nodev1.SchemeGroupVersion.WithResource("runtimeclasses")

// runtimeClasses gives a pod what its runtime class says of all its pods: what the runtime itself uses, and where it is to be had
// (KEP-585, KEP-688).
type runtimeClasses struct{ reader Reader }

func (p *runtimeClasses) mutate(ctx context.Context, req *Request) error {
	pod, ok := createsPod(req)
	if !ok || pod.Spec.RuntimeClassName == nil {
		return nil
	}
	class, err := p.class(ctx, req, *pod.Spec.RuntimeClassName)
	if err != nil {
		return err
	}
	if class.Overhead != nil {
		if len(pod.Spec.Overhead) > 0 && !apiequality.Semantic.DeepEqual(pod.Spec.Overhead, class.Overhead.PodFixed) {
			return rejected(req, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")
		}
		pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	}
	if class.Scheduling != nil {
		return placed(req, pod, class.Scheduling)
	}
	return nil
}

// validate refuses an overhead that no class gave.
func (p *runtimeClasses) validate(ctx context.Context, req *Request) error {
	pod, ok := createsPod(req)
	if !ok || len(pod.Spec.Overhead) == 0 {
		return nil
	}
	if pod.Spec.RuntimeClassName == nil {
		return rejected(req, "Pod Overhead set without corresponding RuntimeClass defined Overhead")
	}
	class, err := p.class(ctx, req, *pod.Spec.RuntimeClassName)
	switch {
	case err != nil:
		return err
	case class.Overhead == nil:
		return rejected(req, "Pod Overhead set without corresponding RuntimeClass defined Overhead")
	case !apiequality.Semantic.DeepEqual(pod.Spec.Overhead, class.Overhead.PodFixed):
		return rejected(req, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	}
	return nil
}

func (p *runtimeClasses) class(ctx context.Context, req *Request, name string) (*nodev1.RuntimeClass, error) {
	if found, ok := p.reader.Get(runtimeClassResource, "", name).(*nodev1.RuntimeClass); ok {
		return found, nil
	}
	found, err := p.reader.Live(ctx, runtimeClassResource, "", name)
	if apierrors.IsNotFound(err) {
		return nil, rejected(req, fmt.Sprintf("RuntimeClass %q not found", name))
	}
	if err != nil {
		return nil, err
	}
	return found.(*nodev1.RuntimeClass), nil
}

// placed narrows a pod to the nodes of its class. The pod may narrow further, but not contradict.
func placed(req *Request, pod *corev1.Pod, scheduling *nodev1.Scheduling) error {
	for _, key := range slices.Sorted(maps.Keys(scheduling.NodeSelector)) {
		value, given := pod.Spec.NodeSelector[key]
		if given && value != scheduling.NodeSelector[key] {
			return rejected(req, fmt.Sprintf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s",
				key, scheduling.NodeSelector[key], key, value))
		}
	}
	if len(scheduling.NodeSelector) > 0 && pod.Spec.NodeSelector == nil {
		pod.Spec.NodeSelector = map[string]string{}
	}
	maps.Copy(pod.Spec.NodeSelector, scheduling.NodeSelector)
	for _, t := range scheduling.Tolerations {
		if !slices.ContainsFunc(pod.Spec.Tolerations, func(has corev1.Toleration) bool { return apiequality.Semantic.DeepEqual(has, t) }) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, t)
		}
	}
	return nil
}

func rejected(req *Request, why string) error {
	return apierrors.NewForbidden(req.GVR().GroupResource(), req.Name, fmt.Errorf("pod rejected: %s", why))
}
