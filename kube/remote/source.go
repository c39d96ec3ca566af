package remote

import (
	"cmp"
	"context"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"github.com/cuppa-project/cuppa/kube"
)

// source is one resource's informer as a kube.Source.
type source struct {
	informer cache.SharedIndexInformer
	selector fields.Selector // what it holds; nil: everything

	mu      sync.Mutex
	indexes map[*kube.Index]string // the informer's name for each
	changed chan struct{}          // closed and replaced at each change, for those who wait for their own write
	seen    int64                  // highest revision that memory has taken in
}

func newSource(lw cache.ListerWatcher, selector fields.Selector) *source {
	s := &source{selector: selector, indexes: map[*kube.Index]string{}, changed: make(chan struct{})}
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

// narrow limits a list or watch to what the Cluster's Sources of the resource hold.
func (c *Cluster) narrow(res schema.GroupVersionResource, opts *metav1.ListOptions) {
	if sel := c.config.Selectors[res]; sel != nil {
		opts.FieldSelector = sel.String()
	}
}

// listWatch lists and watches one resource with the group's REST client.
func (c *Cluster) listWatch(res schema.GroupVersionResource) cache.ListerWatcher {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			client, err := c.client(res.GroupVersion())
			if err != nil {
				return nil, err
			}
			c.narrow(res, &opts)
			return client.Get().Resource(res.Resource).VersionedParams(&opts, scheme.ParameterCodec).Do(ctx).Get()
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			client, err := c.client(res.GroupVersion())
			if err != nil {
				return nil, err
			}
			c.narrow(res, &opts)
			opts.Watch = true
			return client.Get().Resource(res.Resource).VersionedParams(&opts, scheme.ParameterCodec).Watch(ctx)
		},
	}
}

// listWatchMetadata lists and watches the metadata of one resource, of whatever kind.
func (c *Cluster) listWatchMetadata(res schema.GroupVersionResource) cache.ListerWatcher {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			c.narrow(res, &opts)
			list, err := c.metadata.Resource(res).List(ctx, opts)
			if err != nil {
				return nil, err // not the list, which would be a nil that is not nil
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			c.narrow(res, &opts)
			return c.metadata.Resource(res).Watch(ctx, opts)
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
	return inOrder(out)
}

// By implements kube.Source.
func (s *source) By(index *kube.Index, key string) []kube.Object {
	name, err := s.index(index)
	if err != nil {
		return nil // the Cluster has ended
	}
	objs, _ := s.informer.GetIndexer().ByIndex(name, key) // the index is there
	out := make([]kube.Object, 0, len(objs))
	for _, obj := range objs {
		out = append(out, obj.(kube.Object))
	}
	return inOrder(out)
}

// index makes sure that the informer has the index, and returns its name there.
func (s *source) index(index *kube.Index) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name, ok := s.indexes[index]; ok {
		return name, nil
	}
	name := "by " + index.Name
	for s.informer.GetIndexer().GetIndexers()[name] != nil {
		name += "'" // another index of the same name
	}
	keys := func(obj any) ([]string, error) { return index.Keys(obj.(kube.Object)), nil }
	if err := s.informer.AddIndexers(cache.Indexers{name: keys}); err != nil {
		return "", err
	}
	s.indexes[index] = name
	return name, nil
}

func inOrder(objs []kube.Object) []kube.Object {
	slices.SortFunc(objs, func(a, b kube.Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return objs
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
	select {
	case <-reg.HasSyncedChecker().Done():
	case <-ctx.Done():
	}
	return ctx.Err()
}
