package cache

import (
	"context"
	"strings"
	"time"

	"github.com/google/btree"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// view is a state of the tree that does not change any more.
type view struct {
	tree     *btree.BTreeG[*entry]
	revision int64
	until    time.Time // of a pin
}

func (v *view) Revision() int64 { return v.revision }

func (v *view) Len() int { return v.tree.Len() }

func (v *view) Get(key string) (Entry, bool) {
	e, ok := v.tree.Get(&entry{key: key})
	if !ok {
		return nil, false
	}
	return e, true
}

func (v *view) Ascend(prefix, from string, fn func(Entry) bool) {
	v.tree.AscendGreaterOrEqual(&entry{key: max(prefix, from)}, func(e *entry) bool {
		return strings.HasPrefix(e.key, prefix) && fn(e)
	})
}

// Snapshot returns the resource as of the cache's present revision.
func (t *Table) Snapshot() Snapshot { return t.snapshot() }

// snapshot reads the cursor first: whatever the tree then holds is at least as new, and when it is newer, its own last
// revision says so.
func (t *Table) snapshot() *view {
	applied := t.cache.clock.applied.Load()
	v := t.view.Load()
	if v == nil {
		t.mu.Lock()
		if v = t.view.Load(); v == nil {
			v = &view{tree: t.tree.Clone(), revision: t.last}
			t.view.Store(v)
		}
		t.mu.Unlock()
	}
	if applied > v.revision {
		return &view{tree: v.tree, revision: applied}
	}
	return v
}

// Limits of pins. One that was made again, of the recent past or of what the store has, is kept for the next page only: a list that goes on for
// ever is told that it is too old, as elsewhere.
const (
	maxPins  = 4
	pinAge   = historyAge
	againAge = time.Minute
)

// Pin keeps a snapshot of now for the pages that are to follow, for as long as the history reaches. Few are kept: it makes later pages cheap and
// likely, and promises nothing.
func (t *Table) Pin(s Snapshot) {
	v, ok := s.(*view)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pin(v, pinAge)
}

func (t *Table) pin(v *view, age time.Duration) {
	for _, p := range t.pins {
		if p.revision == v.revision {
			return
		}
	}
	if len(t.pins) == maxPins {
		t.pins = append(t.pins[:0], t.pins[1:]...)
	}
	t.pins = append(t.pins, &view{tree: v.tree, revision: v.revision, until: time.Now().Add(age)})
}

func (t *Table) unpin(now time.Time) {
	kept := t.pins[:0]
	for _, p := range t.pins {
		if p.until.After(now) {
			kept = append(kept, p)
		}
	}
	clear(t.pins[len(kept):])
	t.pins = kept
}

// SnapshotAt returns the resource as of a past revision: a pinned snapshot, or the present with the recent past undone, or what
// the store still has. Expired when it is compacted; Unavailable when it is not reached yet.
func (t *Table) SnapshotAt(ctx context.Context, revision int64) (Snapshot, error) {
	if v := t.recall(revision); v != nil {
		return v, nil
	}
	if revision > t.cache.Revision() {
		return nil, errkind.New(errkind.Unavailable, "revision %d is not reached yet, the cache is at %d", revision, t.cache.Revision())
	}
	v := &view{tree: newTree(), revision: revision}
	from := ""
	for {
		page, err := t.cache.cfg.Store.Range(ctx, t.resource.Prefix, from, t.cache.cfg.PageSize, revision)
		if err != nil {
			return nil, err
		}
		for _, kv := range page.KVs {
			v.tree.ReplaceOrInsert(t.entry(kv))
		}
		if !page.More || len(page.KVs) == 0 {
			break
		}
		from = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pin(v, againAge)
	return v, nil
}

// recall finds the revision in memory.
func (t *Table) recall(revision int64) *view {
	if v := t.snapshot(); v.revision == revision {
		return v
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.pins {
		if p.revision == revision {
			return p
		}
	}
	if revision > max(t.last, t.cache.clock.applied.Load()) {
		return nil
	}
	events, ok := t.history.since(revision)
	if !ok {
		return nil
	}
	v := &view{tree: t.tree.Clone(), revision: revision}
	for n := len(events) - 1; n >= 0; n-- {
		if e := events[n]; e.prev == nil {
			v.tree.Delete(e.entry)
		} else {
			v.tree.ReplaceOrInsert(e.prev)
		}
	}
	t.pin(v, againAge)
	return v
}
