// Package endpointslice keeps each Service's EndpointSlices in step with the pods its selector matches.
//
// Services without a selector are left alone: their owner writes the slices. Start with Decide in plan.go.
package endpointslice

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

type controller struct{ loop.Deps }

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := controller{deps}
	return loop.Run(loop.Config{Name: "endpointslice", Deps: deps, Reconcile: c.reconcile, Watch: c.watch, Workers: 8})
}

func (c controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.Services, func(old, new *corev1.Service) {
		if new != nil {
			enqueue(loop.KeyOf(new))
		}
	})
	if err != nil {
		return err
	}
	err = kube.Watch(ctx, c.Cluster, kube.EndpointSlices, func(old, new *discoveryv1.EndpointSlice) {
		for _, s := range []*discoveryv1.EndpointSlice{old, new} {
			if s != nil && s.Labels[discoveryv1.LabelManagedBy] == managedBy {
				enqueue(loop.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]})
			}
		}
	})
	if err != nil {
		return err
	}
	return kube.Watch(ctx, c.Cluster, kube.Pods, func(old, new *corev1.Pod) {
		if old != nil && new != nil && kube.SameEndpoint(old, new) {
			return
		}
		for _, pod := range []*corev1.Pod{old, new} {
			if pod == nil {
				continue
			}
			for _, svc := range kube.ServicesOf(c.Cluster, pod) {
				enqueue(loop.KeyOf(svc))
			}
		}
	})
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	svc, ok := kube.Get[*corev1.Service](c.Cluster, kube.Services, key.Namespace, key.Name)
	if !ok || svc.DeletionTimestamp != nil {
		return 0, nil // garbage collection removes the slices
	}
	if len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return 0, nil // the slices are somebody else's from now on, also those that were made here: their endpoints can be carried over
	}
	var existing []*discoveryv1.EndpointSlice
	for _, s := range kube.By[*discoveryv1.EndpointSlice](c.Cluster, kube.EndpointSlices, kube.ByService, key.Namespace+"/"+key.Name) {
		if s.Labels[discoveryv1.LabelManagedBy] == managedBy {
			existing = append(existing, s)
		}
	}
	pods := kube.Labelled[*corev1.Pod](c.Cluster, kube.Pods, kube.ByLabel, key.Namespace, labels.SelectorFromSet(svc.Spec.Selector))
	return 0, Decide(svc, pods, existing, c.zones(pods)).Carry(ctx, c.Cluster, kube.EndpointSlices)
}

// zones are the zones of the pods' nodes.
func (c controller) zones(pods []*corev1.Pod) map[string]string {
	out := map[string]string{}
	for _, pod := range pods {
		name := pod.Spec.NodeName
		if _, known := out[name]; known || name == "" {
			continue
		}
		out[name] = ""
		if node, ok := kube.Get[*corev1.Node](c.Cluster, kube.Nodes, "", name); ok {
			out[name] = node.Labels[corev1.LabelTopologyZone]
		}
	}
	return out
}
