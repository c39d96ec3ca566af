// Package endpoints keeps each Service's Endpoints object in step with the pods its selector matches, for clients that still read the older form.
// Nothing in Cuppa reads it: that is what EndpointSlices are for (controller/endpointslice).
//
// Services without a selector are left alone: their owner writes the object, and controller/endpointslicemirroring makes slices of it. When a
// Service goes, the object of its name goes too. Start with Decide in plan.go.
package endpoints

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

type controller struct{ loop.Deps }

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := controller{deps}
	return loop.Run(loop.Config{Name: "endpoints", Deps: deps, Reconcile: c.reconcile, Watch: c.watch, Workers: 4})
}

func (c controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.Services, func(old, new *corev1.Service) { enqueue(loop.KeyOf(cmp.Or(new, old))) })
	if err != nil {
		return err
	}
	err = kube.Watch(ctx, c.Cluster, kube.Endpoints, func(old, new *corev1.Endpoints) {
		// One that a user wrote may be there before its Service is.
		if new == nil || new.Labels[LabelManagedBy] == managedBy {
			enqueue(loop.KeyOf(cmp.Or(new, old)))
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
	existing, _ := kube.Get[*corev1.Endpoints](c.Cluster, kube.Endpoints, key.Namespace, key.Name)
	svc, ok := kube.Get[*corev1.Service](c.Cluster, kube.Services, key.Namespace, key.Name)
	if !ok {
		return 0, c.carry(ctx, nil, Decide(nil, nil, existing))
	}
	var pods []*corev1.Pod
	if len(svc.Spec.Selector) > 0 {
		pods = kube.Labelled[*corev1.Pod](c.Cluster, kube.Pods, kube.ByLabel, key.Namespace, labels.SelectorFromSet(svc.Spec.Selector))
	}
	return 0, c.carry(ctx, svc, Decide(svc, pods, existing))
}

func (c controller) carry(ctx context.Context, svc *corev1.Service, plan Plan) error {
	switch plan.Action {
	case Create:
		_, err := c.Cluster.Create(ctx, plan.Endpoints)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		return c.told(svc, "FailedToCreateEndpoint", "create", err)
	case Update:
		_, err := c.Cluster.Update(ctx, plan.Endpoints)
		return c.told(svc, "FailedToUpdateEndpoint", "update", err)
	case Delete:
		e := plan.Endpoints
		err := c.Cluster.Delete(ctx, kube.Endpoints, e.Namespace, e.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(e.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete endpoints %s: %w", e.Name, err)
		}
	}
	return nil
}

// told reports a write that failed. One that lost a race is repeated, and no news.
func (c controller) told(svc *corev1.Service, reason, verb string, err error) error {
	if err == nil {
		return nil
	}
	if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
		c.Events.Warning(svc, reason, "Failed to %s endpoint %s/%s: %v", verb, svc.Namespace, svc.Name, err)
	}
	return fmt.Errorf("%s endpoints of %s: %w", verb, svc.Name, err)
}
