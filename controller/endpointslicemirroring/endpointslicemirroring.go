// Package endpointslicemirroring makes EndpointSlices of Endpoints objects that users write for Services without a selector. Whoever routes reads
// slices alone, so without this such a Service would have no addresses.
//
// Start with Decide in plan.go.
package endpointslicemirroring

import (
	"cmp"
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

type controller struct{ loop.Deps }

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := controller{deps}
	return loop.Run(loop.Config{Name: "endpointslicemirroring", Deps: deps, Reconcile: c.reconcile, Watch: c.watch})
}

func (c controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.Endpoints, func(old, new *corev1.Endpoints) { enqueue(loop.KeyOf(cmp.Or(new, old))) })
	if err != nil {
		return err
	}
	err = kube.Watch(ctx, c.Cluster, kube.Services, func(old, new *corev1.Service) { enqueue(loop.KeyOf(cmp.Or(new, old))) })
	if err != nil {
		return err
	}
	return kube.Watch(ctx, c.Cluster, kube.EndpointSlices, func(old, new *discoveryv1.EndpointSlice) {
		for _, s := range []*discoveryv1.EndpointSlice{old, new} {
			if s != nil && s.Labels[discoveryv1.LabelManagedBy] == managedBy {
				enqueue(loop.Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]})
			}
		}
	})
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	endpoints, _ := kube.Get[*corev1.Endpoints](c.Cluster, kube.Endpoints, key.Namespace, key.Name)
	svc, _ := kube.Get[*corev1.Service](c.Cluster, kube.Services, key.Namespace, key.Name)
	var existing []*discoveryv1.EndpointSlice
	for _, s := range kube.By[*discoveryv1.EndpointSlice](c.Cluster, kube.EndpointSlices, kube.ByService, key.String()) {
		if s.Labels[discoveryv1.LabelManagedBy] == managedBy {
			existing = append(existing, s)
		}
	}
	plan := Decide(endpoints, svc, existing)
	if plan.Left > 0 {
		c.Events.Warning(endpoints, "TooManyAddressesToMirror", "A maximum of %d addresses can be mirrored to EndpointSlices from each subset, %d addresses were left out", maxEndpoints, plan.Left)
	}
	return 0, plan.Carry(ctx, c.Cluster, kube.EndpointSlices)
}
