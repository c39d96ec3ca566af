// Package local is kube.Cluster inside the API server's process: reads share the objects of its cache, writes go through its
// whole pipeline without a socket or a codec.
//
// It joins apiserver and kube, which do not know each other. Start with Cluster.
package local

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/apiserver"
	"github.com/cuppa-project/cuppa/apiserver/authn"
	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/kube"
)

// Cluster is one identity's view of the API server of this process.
type Cluster struct {
	server *apiserver.Server
	door   *apiserver.Local
	logger *slog.Logger
	wg     sync.WaitGroup
}

var _ kube.Cluster = (*Cluster)(nil)

// New returns the view of user. It may be used once the server is ready.
func New(server *apiserver.Server, user authn.User, logger *slog.Logger) *Cluster {
	return &Cluster{server: server, door: server.As(user), logger: logger}
}

// Wait returns when no event is being delivered any more; the contexts of all watches must have ended.
func (c *Cluster) Wait() { c.wg.Wait() }

// Source implements kube.Cluster.
func (c *Cluster) Source(res schema.GroupVersionResource) kube.Source { return c.source(res, whole) }

// Metadata implements kube.Cluster.
func (c *Cluster) Metadata(res schema.GroupVersionResource) kube.Source {
	return c.source(res, metadata)
}

// One implements kube.Cluster.
func (c *Cluster) One(ctx context.Context, res schema.GroupVersionResource, namespace, name string, fn func(kube.Object)) error {
	key := name
	if namespace != "" {
		key = namespace + "/" + name
	}
	return source{cluster: c, res: res, look: whole, only: key}.Watch(ctx, func(e kube.Event) { fn(e.New) })
}

func (c *Cluster) source(res schema.GroupVersionResource, look func(cache.Entry) kube.Object) kube.Source {
	return source{cluster: c, res: res, look: look}
}

// Resources implements kube.Cluster.
func (c *Cluster) Resources(context.Context) ([]kube.Resource, error) {
	return resources(c.server.Kinds()), nil
}

// resources are the stored kinds of a snapshot that can be listed and deleted.
func resources(snapshot *registry.Snapshot) []kube.Resource {
	var out []kube.Resource
	for _, kind := range snapshot.Kinds() {
		if kind.Storage != registry.Stored || snapshot.StoredAs(kind) != kind || kind.Verbs != nil && !(slices.Contains(kind.Verbs, "list") && slices.Contains(kind.Verbs, "delete")) {
			continue
		}
		out = append(out, kube.Resource{GroupVersionResource: kind.GVR(), Kind: kind.GVK.Kind, Namespaced: kind.Namespaced})
	}
	return out
}

// FollowResources implements kube.Cluster.
func (c *Cluster) FollowResources(ctx context.Context, fn func([]kube.Resource)) error {
	seen, changed := c.server.Registry().Changed()
	last := resources(seen)
	fn(last)
	c.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			seen, changed = c.server.Registry().Changed()
			if now := resources(seen); !slices.Equal(now, last) {
				last = now
				fn(now)
			}
		}
	})
	return nil
}

// Live implements kube.Cluster.
func (c *Cluster) Live(ctx context.Context, res schema.GroupVersionResource, namespace, name string) (kube.Object, error) {
	return keep(c.door.Get(ctx, res, namespace, name))
}

// keep turns a nil object into a true nil.
func keep(obj registry.Object, err error) (kube.Object, error) {
	if err != nil {
		return nil, err
	}
	return obj, nil
}

// written waits until reads show the write that returned obj.
func (c *Cluster) written(ctx context.Context, obj registry.Object, err error) (kube.Object, error) {
	if err != nil {
		return nil, err
	}
	if revision, err := strconv.ParseInt(obj.GetResourceVersion(), 10, 64); err == nil {
		// The write is done; a caller whose time is up just does not see it yet.
		_ = c.server.Cache().WaitFor(ctx, revision)
	}
	return obj, nil
}

// Create implements kube.Writer.
func (c *Cluster) Create(ctx context.Context, obj kube.Object) (kube.Object, error) {
	out, err := c.door.Create(ctx, obj)
	return c.written(ctx, out, err)
}

// Update implements kube.Writer.
func (c *Cluster) Update(ctx context.Context, obj kube.Object) (kube.Object, error) {
	out, err := c.door.Update(ctx, obj)
	return c.written(ctx, out, err)
}

// UpdateStatus implements kube.Writer.
func (c *Cluster) UpdateStatus(ctx context.Context, obj kube.Object) (kube.Object, error) {
	out, err := c.door.UpdateStatus(ctx, obj)
	return c.written(ctx, out, err)
}

// UpdateSub implements kube.Writer.
func (c *Cluster) UpdateSub(ctx context.Context, obj kube.Object, subresource string) (kube.Object, error) {
	out, err := c.door.UpdateSub(ctx, obj, subresource)
	return c.written(ctx, out, err)
}

// Patch implements kube.Writer.
func (c *Cluster) Patch(ctx context.Context, res schema.GroupVersionResource, namespace, name string, pt types.PatchType, data []byte, subresources ...string) (kube.Object, error) {
	out, err := c.door.Patch(ctx, res, namespace, name, pt, data, subresources...)
	return c.written(ctx, out, err)
}

// Delete implements kube.Writer.
func (c *Cluster) Delete(ctx context.Context, res schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) error {
	if err := c.door.Delete(ctx, res, namespace, name, opts); err != nil {
		return err
	}
	_, _ = c.server.Cache().Fresh(ctx)
	return nil
}

// CreateSub implements kube.Writer.
func (c *Cluster) CreateSub(ctx context.Context, res schema.GroupVersionResource, namespace, name, subresource string, body runtime.Object) (runtime.Object, error) {
	return c.door.CreateSub(ctx, res, namespace, name, subresource, body)
}
