// Package kube is how every loop reads and writes the API: one interface, two implementations.
//
// app/local shares the API server's cached objects inside its process; kube/remote speaks HTTPS with client-go's
// informers. A loop cannot tell which it has. It holds no policy: authorisation, admission and validation happen behind it, for
// loops as for anyone. Start with Cluster, then the typed functions (Get, List, Watch) that loops call.
package kube

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Object is any API object.
type Object interface {
	metav1.Object
	runtime.Object
}

// Event is one change that a watcher sees. Old is nil for an object that appeared, New is nil for one that went.
type Event struct{ Old, New Object }

// Source is one resource, read from memory. What it returns is shared and read-only: copy before you change.
type Source interface {
	// Get returns the object, or nil. Namespace is "" for cluster-scoped kinds.
	Get(namespace, name string) Object
	// List returns all objects of the namespace ("": of all), in key order.
	List(namespace string, selector labels.Selector) []Object
	// By returns the objects that an index finds under a key, in key order. It costs as much as there are, however many others there are.
	By(index *Index, key string) []Object
	// Watch calls fn for every object present (as appeared), then for every change, in order, from one goroutine, until ctx
	// ends or the resource is no longer served. It returns once the initial objects have been delivered, or ctx ended. fn must not block for long.
	Watch(ctx context.Context, fn func(Event)) error
}

// Resource is one served resource.
type Resource struct {
	schema.GroupVersionResource
	Kind       string
	Namespaced bool
}

// Writer changes the cluster. Reads follow own writes: once a write has returned, the Cluster's Sources show it, or something newer. Objects passed in are not kept; objects returned are the caller's. Errors are API status errors
// (k8s.io/apimachinery/pkg/api/errors tells them apart) in both implementations.
type Writer interface {
	Create(ctx context.Context, obj Object) (Object, error)
	Update(ctx context.Context, obj Object) (Object, error)
	UpdateStatus(ctx context.Context, obj Object) (Object, error)
	// UpdateSub puts the object through another of its subresources: namespaces/finalize.
	UpdateSub(ctx context.Context, obj Object, subresource string) (Object, error)
	Patch(ctx context.Context, res schema.GroupVersionResource, namespace, name string, pt types.PatchType, data []byte, subresources ...string) (Object, error)
	Delete(ctx context.Context, res schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) error
	// CreateSub posts a subresource: pods/binding, pods/eviction, serviceaccounts/token. It returns the server's answer. What that does to
	// objects is seen when it arrives; no read waits for it.
	CreateSub(ctx context.Context, res schema.GroupVersionResource, namespace, name, subresource string, body runtime.Object) (runtime.Object, error)
}

// Cluster is one identity's view of the API.
type Cluster interface {
	Writer
	// Source returns the memory of one resource, filled on first use and kept up to date until the Cluster's Run ends.
	Source(res schema.GroupVersionResource) Source
	// Metadata is like Source for those who look at metadata alone, whatever the kind: nothing but the metadata of what it returns may be
	// relied on, and managedFields may be missing there. Nothing is decoded, sent or kept for its sake that metadata does not need.
	Metadata(res schema.GroupVersionResource) Source
	// One follows a single object, without anything else of its resource: for those who may read, or need, no more than that. It calls fn with the
	// object as it is, shared and read-only (nil: there is none), then whenever that has changed, from one goroutine, until ctx ends. It returns
	// after the first call, or with the reason why there was none.
	One(ctx context.Context, res schema.GroupVersionResource, namespace, name string, fn func(Object)) error
	// Resources lists what the server serves and can list and delete, one version of each resource.
	Resources(ctx context.Context) ([]Resource, error)
	// FollowResources calls fn with what Resources lists, then again whenever that has changed, from one goroutine, until ctx ends. It
	// returns after the first call, or with the reason why there was none.
	FollowResources(ctx context.Context, fn func([]Resource)) error
	// Live reads from the server, past any memory, as fresh as a quorum read.
	Live(ctx context.Context, res schema.GroupVersionResource, namespace, name string) (Object, error)
}
