package memory

import (
	"context"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// watcher is one Watch: a queue without bound, filled under the store's lock and emptied at the reader's pace.
type watcher struct {
	prefix string
	from   int64

	mu       sync.Mutex
	queue    []storage.Event
	revision int64         // everything up to it was offered
	wake     chan struct{} // holds one token while there is something to send
}

// push offers an event; the store's lock orders the calls.
func (w *watcher) push(revision int64, events ...storage.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := len(w.queue)
	for _, e := range events {
		if e.KV.ModRevision >= w.from && strings.HasPrefix(e.KV.Key, w.prefix) {
			w.queue = append(w.queue, e)
		}
	}
	w.revision = revision
	if len(w.queue) > before {
		w.signal()
	}
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be sent now.
func (w *watcher) take() storage.Batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	batch := storage.Batch{Revision: w.revision, Events: w.queue}
	w.queue = nil
	return batch
}

// Watch implements storage.Store.
func (s *Store) Watch(ctx context.Context, prefix string, from int64) <-chan storage.Batch {
	out := make(chan storage.Batch, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if from == 0 {
		from = s.revision + 1
	}
	if from < s.compacted {
		out <- storage.Batch{Revision: s.compacted, Err: errkind.New(errkind.Expired,
			"watch from revision %d: compacted at %d", from, s.compacted)}
		close(out)
		return out
	}
	w := &watcher{prefix: prefix, from: from, wake: make(chan struct{}, 1)}
	start := sort.Search(len(s.log), func(i int) bool { return s.log[i].KV.ModRevision >= from })
	w.push(s.revision, s.log[start:]...)
	s.watchers[w] = struct{}{}
	go s.serve(ctx, w, out)
	return out
}

// serve hands the queue to the reader until ctx ends.
func (s *Store) serve(ctx context.Context, w *watcher, out chan<- storage.Batch) {
	defer close(out)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, w)
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		select {
		case <-ctx.Done():
			return
		case out <- w.take():
		}
	}
}

// Progress implements storage.Store.
func (s *Store) Progress(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return ended("ask for progress", "", err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for w := range s.watchers {
		w.mu.Lock()
		w.revision = s.revision
		w.signal()
		w.mu.Unlock()
	}
	return nil
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
