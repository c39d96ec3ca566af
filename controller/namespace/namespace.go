// Package namespace empties a namespace that is being deleted, says in its status what is left, and then lets it go.
//
// Start with reconcile: every object of every namespaced resource is deleted; when none is left, the finalizer goes. Pods go first, and all else
// when they are gone: what runs must not be left without the objects that protect it, as network policies do (KEP-5080). plan.go has the
// words of the status.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
	observed, err := c.empty(ctx, key.Name)
	if err != nil {
		return 0, err
	}
	if !observed.Empty() {
		// Watches report removals; the timer is for objects whose finalizers are taken away without one.
		return 5 * time.Second, errors.Join(append(observed.Failures, c.tell(ctx, ns, observed))...)
	}
	changed := ns.DeepCopy()
	changed.Spec.Finalizers = slices.DeleteFunc(changed.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	if _, err := c.Cluster.UpdateSub(ctx, changed, "finalize"); err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("finalize: %w", err)
	}
	return 0, nil
}

// tell writes what is left into the namespace's status.
func (c controller) tell(ctx context.Context, ns *corev1.Namespace, observed Observed) error {
	changed := ns.DeepCopy()
	changed.Status.Conditions = Conditions(observed, ns.Status.Conditions)
	if equality.Semantic.DeepEqual(ns.Status, changed.Status) {
		return nil
	}
	if _, err := c.Cluster.UpdateStatus(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update status: %w", err)
	}
	return nil
}

// empty deletes what is not yet on its way: the pods, and everything else once they are gone. It says what is left.
func (c controller) empty(ctx context.Context, namespace string) (Observed, error) {
	observed := Observed{Remaining: map[schema.GroupResource]int{}, Finalizers: map[string]int{}, Now: c.Clock.Now()}
	resources, err := c.Cluster.Resources(ctx)
	if err != nil {
		return observed, err
	}
	for _, pods := range []bool{true, false} {
		for _, res := range resources {
			if res.Namespaced && (res.GroupVersionResource == kube.Pods) == pods {
				c.remove(ctx, namespace, res, &observed)
			}
		}
		if pods && !observed.Empty() {
			break
		}
	}
	return observed, nil
}

// remove deletes the objects of one resource.
func (c controller) remove(ctx context.Context, namespace string, res kube.Resource, observed *Observed) {
	source := c.Cluster.Metadata(res.GroupVersionResource)
	var todo []kube.Object
	for _, obj := range source.List(namespace, labels.Everything()) {
		if obj.GetDeletionTimestamp() == nil {
			todo = append(todo, obj)
		}
	}
	background := metav1.DeletePropagationBackground
	err := loop.ForEach(ctx, todo, func(ctx context.Context, obj kube.Object) error {
		err := c.Cluster.Delete(ctx, res.GroupVersionResource, namespace, obj.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete %s %s: %w", res.Resource, obj.GetName(), err)
		}
		return nil
	})
	if err != nil {
		observed.Failures = append(observed.Failures, err)
	}
	for _, obj := range source.List(namespace, labels.Everything()) {
		observed.Remaining[res.GroupResource()]++
		for _, finalizer := range obj.GetFinalizers() {
			observed.Finalizers[finalizer]++
		}
	}
}
