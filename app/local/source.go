package local

import (
	"context"
	"log/slog"
	"sync"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/kube"
)

// source is one table of the server's cache as a kube.Source. It holds nothing of its own.
type source struct {
	table  *cache.Table
	look   func(cache.Entry) kube.Object // what callers see of an entry: whole, or metadata
	logger *slog.Logger
	wg     *sync.WaitGroup // of the goroutines that deliver events
}

// whole returns the entry's decoded object, or a true nil for bytes that do not decode.
func whole(entry cache.Entry) kube.Object {
	if obj := entry.Object(); obj != nil {
		return obj
	}
	return nil
}

// metadata returns an object of which the metadata may be used.
func metadata(entry cache.Entry) kube.Object {
	if obj := entry.Meta(); obj != nil {
		return obj
	}
	return nil
}

// Get implements kube.Source.
func (s source) Get(namespace, name string) kube.Object {
	key := name
	if namespace != "" {
		key = namespace + "/" + name
	}
	entry, ok := s.table.Get(key)
	if !ok {
		return nil
	}
	return s.look(entry)
}

// List implements kube.Source.
func (s source) List(namespace string, selector labels.Selector) []kube.Object {
	prefix := ""
	if namespace != "" {
		prefix = namespace + "/"
	}
	var out []kube.Object
	s.table.Snapshot().Ascend(prefix, "", func(e cache.Entry) bool {
		if obj := s.look(e); obj != nil && (selector.Empty() || selector.Matches(labels.Set(obj.GetLabels()))) {
			out = append(out, obj)
		}
		return true
	})
	return out
}

// By implements kube.Source.
func (s source) By(index *kube.Index, key string) []kube.Object {
	entries := s.table.By(index, keysOf(index), key)
	out := make([]kube.Object, 0, len(entries))
	for _, e := range entries {
		if obj := s.look(e); obj != nil {
			out = append(out, obj)
		}
	}
	return out
}

// keysOf gives the index what it needs of an entry, and decodes no more than that.
func keysOf(index *kube.Index) func(cache.Entry) []string {
	look := whole
	if index.Metadata {
		look = metadata
	}
	return func(e cache.Entry) []string {
		if obj := look(e); obj != nil {
			return index.Keys(obj)
		}
		return nil
	}
}

// Watch implements kube.Source.
func (s source) Watch(ctx context.Context, fn func(kube.Event)) error {
	snapshot, watcher, err := s.table.SnapshotAndWatch(cache.WatchOptions{Queue: -1, Gapless: true})
	if err != nil {
		return err
	}
	snapshot.Ascend("", "", func(e cache.Entry) bool {
		if obj := s.look(e); obj != nil {
			fn(kube.Event{New: obj})
		}
		return true
	})
	s.wg.Go(func() { s.follow(ctx, watcher, fn) })
	return nil
}

// follow delivers what the watcher sees until ctx ends, the server stops, or it no longer has the resource.
func (s source) follow(ctx context.Context, watcher *cache.Watcher, fn func(kube.Event)) {
	defer watcher.Stop()
	for {
		changes, err := watcher.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.logger.Debug("watch ended", "resource", s.table.Resource().Name, "err", err)
			return
		}
		for _, change := range changes {
			if e := s.event(change); e.Old != nil || e.New != nil {
				fn(e)
			}
		}
	}
}

// event is a change as loops see it. Bytes that do not decode count as no object, before and after.
func (s source) event(change cache.Change) (e kube.Event) {
	if change.Prev != nil {
		e.Old = s.look(change.Prev)
	}
	if change.Type == cache.Added || change.Type == cache.Modified {
		e.New = s.look(change.Entry)
	}
	return e
}
