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
	logger *slog.Logger
	wg     *sync.WaitGroup // of the goroutines that deliver events
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
	return object(entry)
}

// object returns the entry's decoded object, or a true nil for bytes that do not decode.
func object(entry cache.Entry) kube.Object {
	if obj := entry.Object(); obj != nil {
		return obj
	}
	return nil
}

// List implements kube.Source.
func (s source) List(namespace string, selector labels.Selector) []kube.Object {
	prefix := ""
	if namespace != "" {
		prefix = namespace + "/"
	}
	var out []kube.Object
	s.table.Snapshot().Ascend(prefix, "", func(e cache.Entry) bool {
		if selector.Empty() || selector.Matches(e.Labels()) {
			if obj := object(e); obj != nil {
				out = append(out, obj)
			}
		}
		return true
	})
	return out
}

// Watch implements kube.Source.
func (s source) Watch(ctx context.Context, fn func(kube.Event)) error {
	w := &subscription{source: s, fn: fn, known: map[string]kube.Object{}}
	if err := w.begin(); err != nil {
		return err
	}
	s.wg.Go(func() { w.follow(ctx) })
	return nil
}

// subscription delivers one table's changes to one function. It knows what it has delivered, so that it can go on
// after the cache had to be loaded again.
type subscription struct {
	source
	fn      func(kube.Event)
	known   map[string]kube.Object
	watcher *cache.Watcher
}

// begin brings the receiver to the present state and starts a watcher that goes on from it.
func (w *subscription) begin() error {
	snapshot, watcher, err := w.table.SnapshotAndWatch(cache.WatchOptions{Queue: -1})
	if err != nil {
		return err
	}
	w.watcher = watcher
	present := map[string]bool{}
	snapshot.Ascend("", "", func(e cache.Entry) bool {
		present[e.Key()] = true
		w.set(e)
		return true
	})
	for key := range w.known {
		if !present[key] {
			w.remove(key)
		}
	}
	return nil
}

func (w *subscription) set(e cache.Entry) {
	obj := object(e)
	if obj == nil {
		return
	}
	before := w.known[e.Key()]
	w.known[e.Key()] = obj
	switch {
	case before == nil:
		w.fn(kube.Event{New: obj})
	case before.GetResourceVersion() != obj.GetResourceVersion():
		w.fn(kube.Event{Old: before, New: obj})
	}
}

func (w *subscription) remove(key string) {
	before := w.known[key]
	if before == nil {
		return
	}
	delete(w.known, key)
	w.fn(kube.Event{Old: before})
}

func (w *subscription) follow(ctx context.Context) {
	defer func() { w.watcher.Stop() }()
	for {
		changes, err := w.watcher.Next(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.watcher.Stop()
			if err := w.begin(); err != nil {
				w.logger.Warn("loop lost its watch", "resource", w.table.Resource().Name, "err", err)
				return // the server is stopping
			}
			continue
		}
		for _, change := range changes {
			switch change.Type {
			case cache.Deleted:
				w.last(change)
				w.remove(change.Entry.Key())
			case cache.Added, cache.Modified:
				w.set(change.Entry)
			}
		}
	}
}

// last keeps the removed object's last state for the receiver.
func (w *subscription) last(change cache.Change) {
	if obj := object(change.Entry); obj != nil && w.known[change.Entry.Key()] != nil {
		w.known[change.Entry.Key()] = obj
	}
}
