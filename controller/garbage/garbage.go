// Package garbage deletes objects whose owners are gone, and carries out foreground and orphan deletion.
//
// graph.go says which change makes which object worth a look; plan.go decides for one object; this file reads and writes. Who owns what is
// asked of the memory's index by owner, which is never behind. An owner counts as gone only when the server itself says so, never because
// memory does not show it.
package garbage

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

type controller struct {
	loop.Deps
	served  served
	enqueue func(loop.Key) // set by watch, before any reconcile
}

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := &controller{Deps: deps}
	return loop.Run(loop.Config{Name: "garbage", Deps: deps, Reconcile: c.reconcile, Watch: c.watch, Workers: 8})
}

func (c *controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	obj := c.Cluster.Metadata(key.Resource).Get(key.Namespace, key.Name)
	if obj == nil {
		return 0, nil
	}
	if obj.GetDeletionTimestamp() != nil {
		return 0, c.finalize(ctx, key, obj)
	}
	if len(obj.GetOwnerReferences()) == 0 {
		return 0, nil
	}
	states, circle := map[metav1.OwnerReference]ownerState{}, false
	for _, ref := range obj.GetOwnerReferences() {
		state, err := c.owner(ctx, key.Namespace, ref)
		if err != nil {
			return 0, err
		}
		states[strip(ref)] = state
		circle = circle || state == waiting && c.inCircle(obj)
	}
	switch action := decide(obj.GetOwnerReferences(), states, circle); action.kind {
	case remove:
		// The revision must still be the one that was judged: an owner that orphans takes its reference away just before it goes.
		err := c.Cluster.Delete(ctx, key.Resource, key.Namespace, key.Name, metav1.DeleteOptions{
			Preconditions:     &metav1.Preconditions{UID: new(obj.GetUID()), ResourceVersion: new(obj.GetResourceVersion())},
			PropagationPolicy: &action.propagation})
		if err != nil && !apierrors.IsNotFound(err) {
			return 0, fmt.Errorf("delete: %w", err)
		}
	case dropRefs, unblock:
		return 0, c.setOwners(ctx, key, obj, action.refs)
	}
	return 0, nil
}

// inCircle says whether one of an object's dependents waits for its own to go.
func (c *controller) inCircle(obj kube.Object) bool {
	return slices.ContainsFunc(c.dependents(obj), func(d dependent) bool { return waits(d.obj) })
}

// waits says whether an object is in foreground deletion: it goes when its dependents are gone.
func waits(obj kube.Object) bool {
	return obj.GetDeletionTimestamp() != nil && slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents)
}

// owner finds out how an owner stands, asking the server when memory does not know it.
func (c *controller) owner(ctx context.Context, namespace string, ref metav1.OwnerReference) (ownerState, error) {
	key, ok := c.served.owner(namespace, ref)
	if !ok {
		return solid, nil // an owner nobody can name is nobody's reason to delete
	}
	obj := c.Cluster.Metadata(key.Resource).Get(key.Namespace, key.Name)
	if obj == nil || obj.GetUID() != ref.UID {
		var err error
		obj, err = c.Cluster.Live(ctx, key.Resource, key.Namespace, key.Name)
		if apierrors.IsNotFound(err) {
			return absent, nil
		}
		if err != nil {
			return solid, err
		}
	}
	switch {
	case obj.GetUID() != ref.UID:
		return absent, nil
	case waits(obj):
		return waiting, nil
	}
	return solid, nil
}

// finalize does what an object being deleted waits for: its dependents' deletion, or their release.
func (c *controller) finalize(ctx context.Context, key loop.Key, obj kube.Object) error {
	switch {
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents):
		return c.orphan(ctx, key, obj)
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents):
		return c.foreground(ctx, key, obj)
	}
	return nil
}

func (c *controller) orphan(ctx context.Context, key loop.Key, owner kube.Object) error {
	err := loop.ForEach(ctx, c.dependents(owner), func(ctx context.Context, d dependent) error {
		kept := slices.DeleteFunc(slices.Clone(d.obj.GetOwnerReferences()), func(ref metav1.OwnerReference) bool { return ref.UID == owner.GetUID() })
		return c.setOwners(ctx, d.key, d.obj, kept)
	})
	if err != nil {
		return err
	}
	return c.dropFinalizer(ctx, key, owner, metav1.FinalizerOrphanDependents)
}

// foreground lets the owner go when no dependent holds it back. Those that are not on their way yet are judged under their own keys.
func (c *controller) foreground(ctx context.Context, key loop.Key, owner kube.Object) error {
	blocking := false
	for _, d := range c.dependents(owner) {
		for _, ref := range d.obj.GetOwnerReferences() {
			blocking = blocking || ref.UID == owner.GetUID() && blocks(ref)
		}
		if d.obj.GetDeletionTimestamp() == nil {
			c.enqueue(d.key)
		}
	}
	if blocking {
		return nil
	}
	return c.dropFinalizer(ctx, key, owner, metav1.FinalizerDeleteDependents)
}

// dependent is an object with the key it is reconciled by.
type dependent struct {
	key loop.Key
	obj kube.Object
}

// dependents finds what an owner owns.
func (c *controller) dependents(owner kube.Object) []dependent {
	var out []dependent
	for _, res := range c.served.all() {
		if !res.Namespaced && owner.GetNamespace() != "" {
			continue // what is in a namespace owns nothing outside it
		}
		for _, obj := range c.Cluster.Metadata(res.GroupVersionResource).By(kube.ByOwner, string(owner.GetUID())) {
			if owner.GetNamespace() == "" || obj.GetNamespace() == owner.GetNamespace() {
				out = append(out, dependent{keyOf(res, obj), obj})
			}
		}
	}
	return out
}

func (c *controller) setOwners(ctx context.Context, key loop.Key, obj kube.Object, refs []metav1.OwnerReference) error {
	if refs == nil {
		refs = []metav1.OwnerReference{}
	}
	return c.patchMeta(ctx, key, map[string]any{"uid": obj.GetUID(), "resourceVersion": obj.GetResourceVersion(), "ownerReferences": refs})
}

func (c *controller) dropFinalizer(ctx context.Context, key loop.Key, obj kube.Object, finalizer string) error {
	kept := slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), func(f string) bool { return f == finalizer })
	return c.patchMeta(ctx, key, map[string]any{"uid": obj.GetUID(), "resourceVersion": obj.GetResourceVersion(), "finalizers": kept})
}

func (c *controller) patchMeta(ctx context.Context, key loop.Key, meta map[string]any) error {
	_, err := kube.MergePatch(ctx, c.Cluster, key.Resource, key.Namespace, key.Name, map[string]any{"metadata": meta})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("patch metadata: %w", err)
	}
	return nil
}
