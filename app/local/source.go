package local

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kube"
)

// source is one resource in the server's cache as a kube.Source. It holds nothing of its own: it looks up each time what the server has
// of the resource, so that it may be had before the resource is served.
type source struct {
	cluster *Cluster
	res     schema.GroupVersionResource
	look    func(cache.Entry) kube.Object // what callers see of an entry: whole, or metadata
	only    string                        // the key of the one object that is watched; "": all are. That it is not there is told too, as an empty event.
}

// table is the resource's memory; nil while it is not served.
func (s source) table() *cache.Table { return s.cluster.door.Table(s.res) }

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
	table := s.table()
	if table == nil {
		return nil
	}
	entry, ok := table.Get(key)
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
	table := s.table()
	if table == nil {
		return nil
	}
	table.Snapshot().Ascend(prefix, "", func(e cache.Entry) bool {
		if obj := s.look(e); obj != nil && (selector.Empty() || selector.Matches(labels.Set(obj.GetLabels()))) {
			out = append(out, obj)
		}
		return true
	})
	return out
}

// By implements kube.Source.
func (s source) By(index *kube.Index, key string) []kube.Object {
	table := s.table()
	if table == nil {
		return nil
	}
	entries := table.By(index, keysOf(index), key)
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

// Watch implements kube.Source. When the server does not have the resource yet, there is nothing to deliver first, and the rest begins when it does.
func (s source) Watch(ctx context.Context, fn func(kube.Event)) error {
	_, changed := s.cluster.server.Registry().Changed()
	table := s.table()
	if table == nil {
		if s.only != "" {
			fn(kube.Event{})
		}
		s.cluster.wg.Go(func() { s.await(ctx, changed, fn) })
		return nil
	}
	watcher, err := s.start(table, fn)
	if err != nil {
		return err
	}
	s.cluster.wg.Go(func() { s.follow(ctx, table, watcher, fn) })
	return nil
}

// start delivers what there is.
func (s source) start(table *cache.Table, fn func(kube.Event)) (*cache.Watcher, error) {
	snapshot, watcher, err := table.SnapshotAndWatch(s.options())
	if err != nil {
		return nil, err
	}
	if s.only != "" {
		var e kube.Event
		if entry, ok := snapshot.Get(s.only); ok {
			e.New = s.look(entry)
		}
		fn(e)
		return watcher, nil
	}
	snapshot.Ascend("", "", func(e cache.Entry) bool {
		if obj := s.look(e); obj != nil {
			fn(kube.Event{New: obj})
		}
		return true
	})
	return watcher, nil
}

func (s source) options() cache.WatchOptions {
	return cache.WatchOptions{Queue: -1, Gapless: true, Prefix: s.only, Exact: s.only != ""}
}

// await waits until the server has the resource, then follows it.
func (s source) await(ctx context.Context, changed <-chan struct{}, fn func(kube.Event)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		_, changed = s.cluster.server.Registry().Changed()
		table := s.table()
		if table == nil {
			continue
		}
		watcher, err := s.start(table, fn)
		if errors.Is(err, errkind.NotFound) {
			continue // it went at once
		}
		if err != nil {
			s.cluster.logger.Debug("watch not begun", "resource", s.res.String(), "err", err)
			return
		}
		s.follow(ctx, table, watcher, fn)
		return
	}
}

// follow delivers what the watcher sees until ctx ends, the server stops, or it no longer has the resource.
func (s source) follow(ctx context.Context, table *cache.Table, watcher *cache.Watcher, fn func(kube.Event)) {
	for {
		err := s.deliver(ctx, watcher, fn)
		watcher.Stop()
		if ctx.Err() != nil {
			return
		}
		next := s.table()
		if !errors.Is(err, errkind.NotFound) || next == nil || next == table {
			s.cluster.logger.Debug("watch ended", "resource", s.res.String(), "err", err)
			return
		}
		// The resource is served in another way; what watchers know of it is told anew by what is different.
		before := table.Snapshot()
		var after cache.Snapshot
		if after, watcher, err = next.SnapshotAndWatch(s.options()); err != nil {
			return
		}
		s.difference(before, after, fn)
		table = next
	}
}

// deliver hands on what the watcher sees until it ends.
func (s source) deliver(ctx context.Context, watcher *cache.Watcher, fn func(kube.Event)) error {
	for {
		changes, err := watcher.Next(ctx)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, change := range changes {
			if e := s.event(change); e.Old != nil || e.New != nil {
				fn(e)
			}
		}
	}
}

// difference tells what leads from one table of the resource to another.
func (s source) difference(before, after cache.Snapshot, fn func(kube.Event)) {
	tell := func(was, is cache.Entry) {
		var e kube.Event
		if was != nil {
			e.Old = s.look(was)
		}
		if is != nil {
			e.New = s.look(is)
		}
		if e.Old != nil || e.New != nil {
			fn(e)
		}
	}
	if s.only != "" {
		was, _ := before.Get(s.only)
		is, _ := after.Get(s.only)
		tell(was, is)
		return
	}
	before.Ascend("", "", func(was cache.Entry) bool {
		if _, still := after.Get(was.Key()); !still {
			tell(was, nil)
		}
		return true
	})
	after.Ascend("", "", func(is cache.Entry) bool {
		was, _ := before.Get(is.Key())
		tell(was, is)
		return true
	})
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
