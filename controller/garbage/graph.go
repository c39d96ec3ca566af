package garbage

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/kube"
)

// served is what the server serves at the moment, by kind: owners are named by their kind.
type served struct {
	mu     sync.Mutex
	byKind map[schema.GroupKind]kube.Resource
	list   []kube.Resource // replaced as a whole
}

// set takes in what is served now, and returns what was not before.
func (s *served) set(now []kube.Resource) (added []kube.Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.byKind
	s.list, s.byKind = now, map[schema.GroupKind]kube.Resource{}
	for _, res := range now {
		kind := schema.GroupKind{Group: res.Group, Kind: res.Kind}
		s.byKind[kind] = res
		if before[kind] != res {
			added = append(added, res)
		}
	}
	return added
}

func (s *served) all() []kube.Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list
}

// owner is the key of the object that a reference in a namespace names; false for a kind that is not served.
func (s *served) owner(namespace string, ref metav1.OwnerReference) (loop.Key, bool) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return loop.Key{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	res, ok := s.byKind[schema.GroupKind{Group: gv.Group, Kind: ref.Kind}]
	if !res.Namespaced {
		namespace = ""
	}
	return loop.Key{Namespace: namespace, Name: ref.Name, Resource: res.GroupVersionResource}, ok
}

func keyOf(res kube.Resource, obj kube.Object) loop.Key {
	return loop.Key{Namespace: obj.GetNamespace(), Name: obj.GetName(), Resource: res.GroupVersionResource}
}

// watch follows every resource that is served now or comes later. It returns when those of now are known.
func (c *controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	c.enqueue = enqueue
	first, failed := true, error(nil)
	err := c.Cluster.FollowResources(ctx, func(now []kube.Resource) {
		for _, res := range c.served.set(now) {
			err := c.Cluster.Metadata(res.GroupVersionResource).Watch(ctx, func(e kube.Event) { c.changed(res, e) })
			switch {
			case err == nil || ctx.Err() != nil:
			case first:
				failed = err
			default: // it was served for a moment only, or is again when it is followed next
				c.Logger.Debug("resource not followed", "resource", res.GroupResource().String(), "err", err)
			}
		}
		first = false
	})
	if err != nil {
		return err
	}
	return failed
}

// changed enqueues what one change concerns: the object itself, dependents of one that went, and owners that wait for a dependent to go.
func (c *controller) changed(res kube.Resource, e kube.Event) {
	if e.Old != nil && (e.New == nil || e.New.GetUID() != e.Old.GetUID()) {
		for _, d := range c.dependents(e.Old) {
			c.enqueue(d.key)
		}
	}
	if e.Old != nil && (e.New == nil || !sameOwners(e.Old, e.New)) {
		c.enqueueWaiting(e.Old)
	}
	if e.New != nil && concerns(e.Old, e.New) {
		c.enqueue(keyOf(res, e.New))
	}
}

func sameOwners(a, b kube.Object) bool {
	return a.GetUID() == b.GetUID() && equality.Semantic.DeepEqual(a.GetOwnerReferences(), b.GetOwnerReferences())
}

// concerns says whether an object is worth a look: it has owners or is being deleted, and that has changed. Most updates change neither.
func concerns(old, now kube.Object) bool {
	if len(now.GetOwnerReferences()) == 0 && now.GetDeletionTimestamp() == nil {
		return false
	}
	return old == nil || !sameOwners(old, now) || (old.GetDeletionTimestamp() == nil) != (now.GetDeletionTimestamp() == nil) ||
		!slices.Equal(old.GetFinalizers(), now.GetFinalizers())
}

// enqueueWaiting enqueues the object's owners that are in foreground deletion.
func (c *controller) enqueueWaiting(obj kube.Object) {
	for _, ref := range obj.GetOwnerReferences() {
		key, ok := c.served.owner(obj.GetNamespace(), ref)
		if !ok {
			continue
		}
		if owner := c.Cluster.Metadata(key.Resource).Get(key.Namespace, key.Name); owner != nil && owner.GetUID() == ref.UID && owner.GetDeletionTimestamp() != nil {
			c.enqueue(key)
		}
	}
}
