// Package namespace empties a namespace that is being deleted, and then lets it go.
//
// Start with reconcile: every listed object of every namespaced resource is deleted; when none is left, the finalizer goes.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	return loop.Run(loop.Config{Name: "namespace", Deps: deps, Reconcile: c.reconcile, Watch: c.watch, MaxWait: 5 * time.Second})
}

func (c controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.Namespaces, func(old, new *corev1.Namespace) {
		if new != nil && new.DeletionTimestamp != nil {
			enqueue(loop.KeyOf(new))
		}
	})
	if err != nil {
		return err
	}
	known := map[kube.Resource]bool{} // of the one goroutine that follows
	return c.Cluster.FollowResources(ctx, func(now []kube.Resource) {
		before := known
		known = map[kube.Resource]bool{}
		for _, res := range now {
			known[res] = res.Namespaced
			if res.Namespaced && !before[res] {
				c.follow(ctx, res, enqueue)
			}
		}
	})
}

// follow looks at a namespace again when an object of the resource goes: the last one decides when the namespace may. A watch that cannot
// be had costs only time: a namespace that is not empty is looked at now and then anyway.
func (c controller) follow(ctx context.Context, res kube.Resource, enqueue func(loop.Key)) {
	err := c.Cluster.Metadata(res.GroupVersionResource).Watch(ctx, func(e kube.Event) {
		if e.New == nil && c.ending(e.Old.GetNamespace()) {
			enqueue(loop.Key{Name: e.Old.GetNamespace()})
		}
	})
	if err != nil && ctx.Err() == nil {
		c.Logger.Debug("resource not followed", "resource", res.GroupResource().String(), "err", err)
	}
}

func (c controller) ending(name string) bool {
	ns, ok := kube.Get[*corev1.Namespace](c.Cluster, kube.Namespaces, "", name)
	return ok && ns.DeletionTimestamp != nil
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	ns, ok := kube.Get[*corev1.Namespace](c.Cluster, kube.Namespaces, "", key.Name)
	if !ok || ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return 0, nil
	}
	left, err := c.empty(ctx, key.Name)
	if err != nil {
		return 0, err
	}
	if left > 0 {
		// Watches report removals; the timer is for objects whose finalizers are taken away without one.
		return 5 * time.Second, nil
	}
	changed := ns.DeepCopy()
	changed.Spec.Finalizers = slices.DeleteFunc(changed.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	if _, err := c.Cluster.UpdateSub(ctx, changed, "finalize"); err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("finalize: %w", err)
	}
	return 0, nil
}

// empty deletes everything in the namespace that is not yet on its way, and says how much is left.
func (c controller) empty(ctx context.Context, namespace string) (left int, err error) {
	resources, err := c.Cluster.Resources(ctx)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, res := range resources {
		if !res.Namespaced {
			continue
		}
		source := c.Cluster.Metadata(res.GroupVersionResource)
		var todo []kube.Object
		for _, obj := range source.List(namespace, labels.Everything()) {
			if obj.GetDeletionTimestamp() == nil {
				todo = append(todo, obj)
			}
		}
		background := metav1.DeletePropagationBackground
		errs = append(errs, loop.ForEach(ctx, todo, func(ctx context.Context, obj kube.Object) error {
			err := c.Cluster.Delete(ctx, res.GroupVersionResource, namespace, obj.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return fmt.Errorf("delete %s %s: %w", res.Resource, obj.GetName(), err)
			}
			return nil
		}))
		left += len(source.List(namespace, labels.Everything()))
	}
	return left, errors.Join(errs...)
}
