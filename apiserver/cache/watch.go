package cache

import (
	"context"
	"strings"
	"sync"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

const defaultQueue = 4096

// Watcher receives the changes of one table, in order and without a gap. One goroutine at a time calls Next.
type Watcher struct {
	table *Table
	opts  WatchOptions
	since int64 // changes up to it are not wanted, or were put into the queue at the start
	limit int

	mu    sync.Mutex
	queue []*event
	err   error         // why no more will come
	wake  chan struct{} // holds a token when there is something to see

	taken   []*event // the queue's other half, so that both are reused
	changes []Change
}

// Watch starts a watcher after opts.Since. Stop must be called.
func (t *Table) Watch(opts WatchOptions) (*Watcher, error) {
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	w := newWatcher(t, opts)
	t.mu.RLock()
	events, ok := t.history.since(opts.Since)
	floor := t.history.floor
	w.since = max(opts.Since, t.last)
	for _, e := range events {
		if w.wants(e) {
			w.queue = append(w.queue, e)
		}
	}
	t.mu.RUnlock()
	if !ok {
		return nil, errExpired("watch from revision %d: the history begins at %d", opts.Since, floor)
	}
	return w, t.admit(w)
}

// SnapshotAndWatch returns the present state and a watcher that goes on exactly where it ends. Stop must be called.
func (t *Table) SnapshotAndWatch(opts WatchOptions) (Snapshot, *Watcher, error) {
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	v := t.snapshot()
	w := newWatcher(t, opts)
	w.since = v.revision
	return v, w, t.admit(w)
}

func newWatcher(t *Table, opts WatchOptions) *Watcher {
	return &Watcher{table: t, opts: opts, wake: make(chan struct{}, 1)}
}

// admit makes the watcher one of those that get changes; watchMu is held.
func (t *Table) admit(w *Watcher) error {
	if !isClosed(t.cache.ready) {
		return errkind.New(errkind.Unavailable, "the cache is not loaded yet")
	}
	if isClosed(t.cache.done) {
		return errStopped()
	}
	if t.ended != nil {
		return t.ended
	}
	switch w.opts.Queue {
	case 0:
		w.limit = defaultQueue + len(w.queue)
	default:
		w.limit = w.opts.Queue + len(w.queue)
	}
	if len(w.queue) > 0 {
		w.signal()
	}
	t.watchers.add(w)
	return nil
}

// Next waits for changes and returns all there are. The slice is valid until the next call. The error says why the watcher
// ended: Unavailable when it was too slow or the cache stops (resume from the last revision), Expired when the cache had to be
// loaded again (list again), NotFound when the resource is no longer served or served in another way (begin anew), and otherwise ctx's.
func (w *Watcher) Next(ctx context.Context) ([]Change, error) {
	for {
		w.mu.Lock()
		events, err := w.queue, w.err
		w.queue, w.taken = w.taken[:0], events
		w.mu.Unlock()
		if clear(w.changes); cap(w.changes) > keepRoom {
			w.changes = nil
		}
		w.changes = w.changes[:0]
		for _, e := range events {
			if c, ok := w.see(e); ok {
				w.changes = append(w.changes, c)
			}
		}
		w.reuse(events)
		if len(w.changes) > 0 {
			return w.changes, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.wake:
		}
	}
}

// keepRoom is how much room for changes a watcher keeps between calls; a burst must not cost memory for ever.
const keepRoom = 64

// reuse makes the slice the queue's other half, unless a burst has made it large.
func (w *Watcher) reuse(events []*event) {
	clear(events)
	if cap(events) <= keepRoom {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken = nil
}

// see turns an event into what this watcher sees of it.
func (w *Watcher) see(e *event) (Change, bool) {
	if e.kind == Bookmark {
		return e.change(Bookmark), true
	}
	before := e.prev != nil && w.match(e.prev)
	after := e.kind != Deleted && w.match(e.entry)
	switch {
	case before && after:
		return e.change(Modified), true
	case after:
		c := e.change(Added)
		c.Prev = nil
		return c, true
	case before && e.kind == Deleted:
		return e.change(Deleted), true
	case before:
		c := e.change(Deleted)
		c.Entry = e.leave()
		return c, true
	}
	return Change{}, false
}

func (w *Watcher) match(e *entry) bool {
	if w.opts.Field != "" && e.Fields()[w.opts.Field] != w.opts.Value {
		return false
	}
	return w.opts.Match == nil || w.opts.Match(e)
}

// wants says whether the event is within the watcher's keys.
func (w *Watcher) wants(e *event) bool {
	if w.opts.Exact {
		return e.entry.key == w.opts.Prefix
	}
	return strings.HasPrefix(e.entry.key, w.opts.Prefix)
}

// Bookmark puts a Bookmark with the present revision into the queue.
func (w *Watcher) Bookmark() {
	w.table.watchMu.Lock()
	defer w.table.watchMu.Unlock()
	w.push(&event{kind: Bookmark, revision: max(w.table.cache.clock.delivered.Load(), w.since)})
}

// Stop ends the watcher; Next then fails. It may be called more than once.
func (w *Watcher) Stop() {
	w.table.watchMu.Lock()
	defer w.table.watchMu.Unlock()
	w.end(errkind.New(errkind.Unavailable, "the watcher was stopped"))
}

// end and push are called with watchMu held.
func (w *Watcher) end(err error) {
	w.table.watchers.remove(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		w.signal()
	}
}

func (w *Watcher) push(e *event) {
	if e.revision <= w.since && e.kind != Bookmark {
		return
	}
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return
	}
	if w.opts.Queue >= 0 && len(w.queue) >= w.limit {
		w.queue = nil
		w.mu.Unlock()
		w.table.counters.slow.Add(1)
		w.end(errkind.New(errkind.Unavailable, "the watcher is too slow: %d changes wait", w.limit))
		return
	}
	w.queue = append(w.queue, e)
	if len(w.queue) == 1 {
		w.signal()
	}
	w.mu.Unlock()
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (t *Table) closeWatchers(err error) {
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	for w := range t.watchers.all {
		w.end(err)
	}
}

// startOver tells the gapless watchers what is different, and ends all others.
func (t *Table) startOver(events []*event, err error) {
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	for w := range t.watchers.all {
		if !w.opts.Gapless {
			w.end(err)
			continue
		}
		for _, e := range events {
			if w.wants(e) {
				w.push(e)
			}
		}
	}
}

// bookmark tells those who asked for it how far they are.
func (t *Table) bookmark() {
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	revision := t.cache.clock.delivered.Load()
	e := &event{kind: Bookmark, revision: revision}
	for w := range t.watchers.all {
		if w.opts.Bookmarks && revision >= w.since {
			w.push(e)
		}
	}
}

func errExpired(format string, args ...any) error {
	return errkind.New(errkind.Expired, format, args...)
}
