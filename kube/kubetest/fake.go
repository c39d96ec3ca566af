package kubetest

import (
	"context"
	"slices"
	"sync"

	"github.com/cuppa-project/cuppa/kube"
)

// Under keeps the objects that an index finds under a key, by looking at all of them: what a fake's Source.By may do.
func Under(objs []kube.Object, index *kube.Index, key string) []kube.Object {
	return slices.DeleteFunc(objs, func(obj kube.Object) bool { return !slices.Contains(index.Keys(obj), key) })
}

// One follows one object by looking at all of them: what a fake's Cluster.One may do.
func One(ctx context.Context, source kube.Source, namespace, name string, fn func(kube.Object)) error {
	var mu sync.Mutex
	var now kube.Object
	begun := false
	err := source.Watch(ctx, func(e kube.Event) {
		obj := e.New
		if obj == nil {
			obj = e.Old
		}
		if obj.GetNamespace() != namespace || obj.GetName() != name {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if now = e.New; begun {
			fn(now)
		}
	})
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	begun = true
	fn(now)
	return nil
}
