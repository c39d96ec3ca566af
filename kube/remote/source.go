package remote

import (
	"context"
	"sort"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"github.com/cuppa-project/cuppa/kube"
)

// ownWriteWait bounds how long a write waits for its echo; past it the caller goes on and its loop sees the change a little later.
const ownWriteWait = 5 * time.Second

// source is one resource's informer as a kube.Source.
type source struct {
	res      schema.GroupVersionResource
	informer cache.SharedIndexInformer

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change, for those who wait for their own write
	seen    int64         // highest revision that memory has taken in
}

func newSource(res schema.GroupVersionResource, lw cache.ListerWatcher) *source {
	s := &source{res: res, changed: make(chan struct{})}
	s.informer = cache.NewSharedIndexInformer(lw, nil, 0, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	// The informer has not run yet, so adding a handler cannot fail.
	_, _ = s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.wake(obj) },
		UpdateFunc: func(_, obj any) { s.wake(obj) },
		DeleteFunc: func(obj any) { s.wake(obj) },
	})
	return s
}

func (s *source) wake(obj any) {
	s.mu.Lock()
	if o, ok := obj.(kube.Object); ok {
		s.seen = max(s.seen, revision(o))
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// listWatch lists and watches one resource with the group's REST client.
func (c *Cluster) listWatch(res schema.GroupVersionResource) cache.ListerWatcher {
	narrow := func(opts *metav1.ListOptions) {
		if sel := c.config.Selectors[res]; sel != nil {
			opts.FieldSelector = sel.String()
		}
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			client, err := c.client(res.GroupVersion())
			if err != nil {
				return nil, err
			}
			narrow(&opts)
			return client.Get().Resource(res.Resource).VersionedParams(&opts, scheme.ParameterCodec).Do(ctx).Get()
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			client, err := c.client(res.GroupVersion())
			if err != nil {
				return nil, err
			}
			narrow(&opts)
			opts.Watch = true
			return client.Get().Resource(res.Resource).VersionedParams(&opts, scheme.ParameterCodec).Watch(ctx)
		},
	}
}

// Get implements kube.Source.
func (s *source) Get(namespace, name string) kube.Object {
	key := name
	if namespace != "" {
		key = namespace + "/" + name
	}
	obj, ok, _ := s.informer.GetStore().GetByKey(key)
	if !ok {
		return nil
	}
	return obj.(kube.Object)
}

// List implements kube.Source.
func (s *source) List(namespace string, selector labels.Selector) []kube.Object {
	var out []kube.Object
	add := func(obj any) {
		if o := obj.(kube.Object); selector.Matches(labels.Set(o.GetLabels())) {
			out = append(out, o)
		}
	}
	// Neither call can fail: the index exists and the selector is applied here.
	if namespace == "" {
		_ = cache.ListAll(s.informer.GetStore(), labels.Everything(), add)
	} else {
		_ = cache.ListAllByNamespace(s.informer.GetIndexer(), namespace, labels.Everything(), add)
	}
	sort.Slice(out, func(i, j int) bool {
		if a, b := out[i].GetNamespace(), out[j].GetNamespace(); a != b {
			return a < b
		}
		return out[i].GetName() < out[j].GetName()
	})
	return out
}

// Watch implements kube.Source.
func (s *source) Watch(ctx context.Context, fn func(kube.Event)) error {
	reg, err := s.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { fn(kube.Event{New: obj.(kube.Object)}) },
		UpdateFunc: func(old, new any) { fn(kube.Event{Old: old.(kube.Object), New: new.(kube.Object)}) },
		DeleteFunc: func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			fn(kube.Event{Old: obj.(kube.Object)})
		},
	})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = s.informer.RemoveEventHandler(reg) })
	cache.WaitForCacheSync(ctx.Done(), reg.HasSynced)
	return ctx.Err()
}

// peek returns the object from memory if the resource is being watched at all.
func (c *Cluster) peek(res schema.GroupVersionResource, namespace, name string) kube.Object {
	c.mu.Lock()
	s, ok := c.sources[res]
	c.mu.Unlock()
	if !ok {
		return nil
	}
	return s.Get(namespace, name)
}

// awaitWrite blocks until the Source of res shows obj's revision or a later one.
func (c *Cluster) awaitWrite(ctx context.Context, res schema.GroupVersionResource, obj kube.Object) {
	want := revision(obj)
	c.await(ctx, res, func(s *source, seen int64) bool {
		have := s.Get(obj.GetNamespace(), obj.GetName())
		if have != nil {
			return revision(have) >= want
		}
		return seen >= want // it came and went again
	})
}

// awaitDelete blocks until the Source of res shows that obj goes or is gone.
func (c *Cluster) awaitDelete(ctx context.Context, res schema.GroupVersionResource, obj kube.Object) {
	c.await(ctx, res, func(s *source, _ int64) bool {
		have := s.Get(obj.GetNamespace(), obj.GetName())
		return have == nil || have.GetUID() != obj.GetUID() || have.GetDeletionTimestamp() != nil
	})
}

func (c *Cluster) await(ctx context.Context, res schema.GroupVersionResource, done func(s *source, seen int64) bool) {
	c.mu.Lock()
	s, ok := c.sources[res]
	running := c.ctx != nil
	selected := c.config.Selectors[res] != nil
	c.mu.Unlock()
	if !ok || !running || selected || !s.informer.HasSynced() {
		return
	}
	timeout := time.NewTimer(ownWriteWait)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		changed, seen := s.changed, s.seen
		s.mu.Unlock()
		if done(s, seen) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-timeout.C:
			return
		}
	}
}

func revision(obj kube.Object) int64 {
	n, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	return n
}
