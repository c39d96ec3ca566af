package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/apiserver/kinds/scheduling"
)

var priorityClassResource = schedulingv1.SchemeGroupVersion.WithResource("priorityclasses")

// priorities gives every pod the number of its priority class, and keeps the classes to one default.
type priorities struct{ reader Reader }

// mutate resolves the class of a pod. One without a class gets the default class, and without that the priority 0.
func (p *priorities) mutate(ctx context.Context, req *Request) error {
	pod, ok := createsPod(req)
	if !ok {
		return nil
	}
	class, err := p.class(ctx, req, pod.Spec.PriorityClassName)
	if err != nil {
		return err
	}
	value, policy := int32(0), corev1.PreemptLowerPriority
	if class != nil {
		pod.Spec.PriorityClassName, value = class.Name, class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority != value {
		return apierrors.NewForbidden(req.GVR().GroupResource(), pod.Name,
			fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, value))
	}
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy != policy {
		return apierrors.NewForbidden(req.GVR().GroupResource(), pod.Name,
			fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *pod.Spec.PreemptionPolicy, policy))
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
	return nil
}

// class finds the class by name; without a name the default class, of several that with the lowest value. Nil: there is none.
func (p *priorities) class(ctx context.Context, req *Request, name string) (*schedulingv1.PriorityClass, error) {
	if name == "" {
		return p.fallback(), nil
	}
	if found, ok := p.reader.Get(priorityClassResource, "", name).(*schedulingv1.PriorityClass); ok {
		return found, nil
	}
	found, err := p.reader.Live(ctx, priorityClassResource, "", name)
	if class, ok := found.(*schedulingv1.PriorityClass); ok && err == nil {
		return class, nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	// The system's own classes hold from the first moment, before anybody has stored them.
	for _, own := range scheduling.SystemPriorityClasses() {
		if own.Name == name {
			return own, nil
		}
	}
	return nil, apierrors.NewForbidden(req.GVR().GroupResource(), req.Name, fmt.Errorf("no PriorityClass with name %s was found", name))
}

func (p *priorities) fallback() *schedulingv1.PriorityClass {
	var out *schedulingv1.PriorityClass
	for _, obj := range p.reader.List(priorityClassResource, "") {
		if class, ok := obj.(*schedulingv1.PriorityClass); ok && class.GlobalDefault && (out == nil || class.Value < out.Value) {
			out = class
		}
	}
	return out
}

// validate refuses a second default class, and the removal of the system's own.
func (p *priorities) validate(_ context.Context, req *Request) error {
	if !req.is(schedulingv1.GroupName, "priorityclasses") {
		return nil
	}
	if req.Operation == Delete {
		return p.keep(req)
	}
	class, ok := req.Object.(*schedulingv1.PriorityClass)
	if !ok || !class.GlobalDefault {
		return nil
	}
	if other := p.fallback(); other != nil && other.Name != class.Name {
		return apierrors.NewForbidden(req.GVR().GroupResource(), class.Name,
			fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
	}
	return nil
}

func (p *priorities) keep(req *Request) error {
	for _, own := range scheduling.SystemPriorityClasses() {
		if own.Name == req.Name {
			return apierrors.NewForbidden(req.GVR().GroupResource(), req.Name, fmt.Errorf("this is a system priority class and cannot be deleted"))
		}
	}
	return nil
}
