package cache

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"

	"github.com/cuppa-project/cuppa/apiserver/storage"
)

// Table is one resource. Its reads are of the moment; call Cache.Fresh or WaitFor first where it matters how old that is.
type Table struct {
	cache    *Cache
	resource Resource
	counters counters

	incoming []storage.Event // of the batch being applied; the feed's own

	mu      sync.RWMutex
	tree    *btree.BTreeG[*entry]
	view    atomic.Pointer[view] // a clone of tree, until the next change
	last    int64                // revision of the last change, or of the load
	history ring
	loading bool            // join is reading the first state
	pending []storage.Event // what happened meanwhile
	fresh   []*event        // applied, not yet delivered
	own     map[string]ownWrite
	pins    []*view
	indexes map[any]*index

	watchMu  sync.Mutex
	watchers audience
	ended    error // why nobody can watch any more
}

// ownWrite is an object whose event has not arrived yet.
type ownWrite struct {
	revision int64
	stored   []byte
	object   Object
}

func newTable(c *Cache, r Resource, loading bool) *Table {
	t := &Table{cache: c, resource: r, loading: loading, tree: newTree(), own: map[string]ownWrite{}}
	t.history.maxEvents, t.history.maxBytes = r.HistoryEvents, r.HistoryBytes
	if t.history.maxEvents == 0 {
		t.history.maxEvents = 8192
	}
	if t.history.maxBytes == 0 {
		t.history.maxBytes = 32 << 20
	}
	t.watchers.init()
	return t
}

func newTree() *btree.BTreeG[*entry] {
	return btree.NewG(32, func(a, b *entry) bool { return a.key < b.key })
}

// Resource returns what the table was made of.
func (t *Table) Resource() Resource { return t.resource }

// Get returns the entry with the key ("namespace/name" or "name") as of now.
func (t *Table) Get(key string) (Entry, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	e, ok := t.tree.Get(&entry{key: key})
	if !ok {
		return nil, false
	}
	return e, true
}

// Own hands over what a writer of this process stored at revision, so that it is not decoded again. Key is the stored key; the
// object carries the revision, apiVersion and kind, and is not changed any more. Call it after the write has succeeded.
func (c *Cache) Own(key string, revision int64, stored []byte, object Object) {
	if t := c.tables.Load().find(key); t != nil {
		t.adopt(key[len(t.resource.Prefix):], ownWrite{revision, stored, object})
	}
}

func (t *Table) adopt(key string, w ownWrite) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.tree.Get(&entry{key: key}); ok && e.revision >= w.revision {
		if e.revision == w.revision && e.adopt(w.object) {
			t.counters.adopted.Add(1)
		}
		return
	}
	// The bound matters only if the watch on the store hangs.
	if t.last < w.revision && t.cache.clock.applied.Load() < w.revision && len(t.own) < 10000 {
		t.own[key] = w
	}
}

func (t *Table) entry(kv storage.KV) *entry {
	return &entry{table: t, key: kv.Key[len(t.resource.Prefix):], revision: kv.ModRevision, stored: kv.Value}
}

// install replaces everything by a state that was read as of revision. Watchers cannot be told what happened in between; those that
// ask for no more than the difference get it.
func (t *Table) install(entries []*entry, revision int64) {
	t.mu.Lock()
	before, tree := t.tree, newTree()
	for _, e := range entries {
		if same, ok := before.Get(e); ok && same.revision == e.revision {
			e = same // and with it what was already decoded
		}
		tree.ReplaceOrInsert(e)
	}
	t.tree, t.last, t.loading, t.pending, t.fresh = tree, revision, false, nil, nil
	t.view.Store(nil)
	t.history.reset(revision)
	t.pins = nil
	clear(t.own)
	t.forgetIndexes()
	now := tree.Clone()
	t.mu.Unlock()
	t.startOver(difference(before, now, revision), errExpired("the cache was loaded again at revision %d", revision))
}

// difference is what would have led from one state to another, as far as their ends tell.
func difference(before, now *btree.BTreeG[*entry], revision int64) []*event {
	var out []*event
	second := time.Now().Unix()
	before.Ascend(func(e *entry) bool {
		if !now.Has(e) {
			out = append(out, &event{kind: Deleted, revision: revision, second: second, entry: e.at(revision), prev: e})
		}
		return true
	})
	now.Ascend(func(e *entry) bool {
		prev, ok := before.Get(e)
		switch {
		case !ok:
			out = append(out, &event{kind: Added, revision: revision, second: second, entry: e})
		case prev != e:
			out = append(out, &event{kind: Modified, revision: revision, second: second, entry: e, prev: prev})
		}
		return true
	})
	return out
}

// join reads the first state of a table that was added while the cache runs.
func (t *Table) join(ctx context.Context) error {
	var (
		entries  []*entry
		revision int64
		from     string
	)
	for {
		page, err := t.cache.cfg.Store.Range(ctx, t.resource.Prefix, from, t.cache.cfg.PageSize, revision)
		if err != nil {
			return err
		}
		revision = page.Revision
		for _, kv := range page.KVs {
			entries = append(entries, t.entry(kv))
		}
		if !page.More || len(page.KVs) == 0 {
			break
		}
		from = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loading {
		return nil // a reload of everything was faster
	}
	t.loading = false
	for _, e := range entries {
		t.tree.ReplaceOrInsert(e)
	}
	t.last = revision
	t.history.reset(revision)
	for _, e := range t.pending {
		if e.KV.ModRevision > revision {
			t.change(e)
		}
	}
	t.pending, t.fresh = nil, nil // nobody watches yet
	t.forgetIndexes()
	return nil
}

// apply brings the tree and the history up to date. Deliver must follow.
func (t *Table) apply(events []storage.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loading {
		t.pending = append(t.pending, events...)
		return
	}
	for _, e := range events {
		t.change(e)
	}
}

// change applies one event; mu is held.
func (t *Table) change(e storage.Event) {
	now := t.entry(e.KV)
	ev := &event{kind: Added, revision: e.KV.ModRevision, second: time.Now().Unix(), entry: now}
	if e.Type == storage.Delete {
		prev, ok := t.tree.Delete(now)
		if !ok {
			return
		}
		ev.kind, ev.prev, ev.entry = Deleted, prev, prev.at(ev.revision)
	} else if prev, ok := t.tree.ReplaceOrInsert(now); ok {
		ev.kind, ev.prev = Modified, prev
	}
	if w, ok := t.own[now.key]; ok && w.revision <= ev.revision {
		delete(t.own, now.key)
		if w.revision == ev.revision && bytes.Equal(w.stored, now.stored) {
			now.adopt(w.object)
			t.counters.adopted.Add(1)
		}
	}
	t.view.Store(nil)
	t.last = ev.revision
	t.noteIndexes(ev)
	t.history.append(ev)
	t.fresh = append(t.fresh, ev)
	t.counters.events.Add(1)
}

// deliver hands the changes applied last to the watchers.
func (t *Table) deliver() {
	t.mu.Lock()
	events := t.fresh
	t.fresh = nil
	t.mu.Unlock()
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	for _, e := range events {
		t.watchers.deliver(e)
	}
}

// age forgets what was too long ago now.
func (t *Table) age(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.history.expire(now.Add(-historyAge).Unix())
	t.unpin(now)
}

// sweep drops decoded objects and documents that nobody asked for since the last sweep.
func (t *Table) sweep() {
	t.snapshot().tree.Ascend(func(e *entry) bool {
		if !e.used.Swap(false) {
			e.drop()
			e.trimmed.Store(false)
			e.again.Store(false)
		}
		return true
	})
}
