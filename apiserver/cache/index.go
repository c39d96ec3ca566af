package cache

import (
	"cmp"
	"slices"
	"sync"
)

// index is one way to find a table's entries by something other than their key. Changes only queue up; whoever asks next works them
// in, outside of the table's lock, when the objects have usually been decoded for somebody anyway. An index that nobody asks costs a short
// queue, and is then forgotten until somebody does.
type index struct {
	keys func(Entry) []string

	// Of the table's mu.
	news  []string // keys of entries that changed
	stale bool     // what is in the buckets is of the past; begin with the whole table

	mu      sync.Mutex // taken before the table's
	buckets map[string]*bucket
	places  map[string][]*bucket // of an entry that is in any
}

// bucket are the entries with one key of the index, in the order of their own keys.
type bucket struct {
	name    string
	entries []*entry
}

// leastNews is how many changes an index takes in before it can be forgotten; a large table's may be as many as its entries.
const leastNews = 1024

// By returns the entries to which the function gives the key, in the order of their own keys. Id names the function: it is called once for
// each entry and change, and what it says is kept as long as somebody asks now and then.
func (t *Table) By(id any, keys func(Entry) []string, key string) []Entry {
	x := t.index(id, keys)
	x.mu.Lock()
	defer x.mu.Unlock()
	t.catchUp(x)
	b := x.buckets[key]
	if b == nil {
		return nil
	}
	out := make([]Entry, len(b.entries))
	for i, e := range b.entries {
		out[i] = e
	}
	return out
}

func (t *Table) index(id any, keys func(Entry) []string) *index {
	t.mu.RLock()
	x := t.indexes[id]
	t.mu.RUnlock()
	if x != nil {
		return x
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.indexes[id]; x != nil {
		return x
	}
	if t.indexes == nil {
		t.indexes = map[any]*index{}
	}
	x = &index{keys: keys, stale: true}
	t.indexes[id] = x
	return x
}

// noteIndexes queues a change; mu is held.
func (t *Table) noteIndexes(e *event) {
	for _, x := range t.indexes {
		switch {
		case x.stale:
		case len(x.news) >= max(leastNews, t.tree.Len()):
			x.news, x.stale = nil, true
		default:
			x.news = append(x.news, e.entry.key)
		}
	}
}

// forgetIndexes makes every index begin again; mu is held.
func (t *Table) forgetIndexes() {
	for _, x := range t.indexes {
		x.news, x.stale = nil, true
	}
}

// catchUp brings the index to the table's present state; the index's mu is held.
func (t *Table) catchUp(x *index) {
	t.mu.Lock()
	news, stale := x.news, x.stale
	x.news, x.stale = nil, false
	t.mu.Unlock()
	if !stale && len(news) == 0 {
		return
	}
	now := t.snapshot().tree
	if stale {
		x.buckets, x.places = map[string]*bucket{}, map[string][]*bucket{}
		now.Ascend(func(e *entry) bool {
			x.place(e.key, e)
			return true
		})
		return
	}
	for _, key := range news {
		e, _ := now.Get(&entry{key: key})
		x.place(key, e)
	}
}

// place puts an entry where it belongs now.
func (x *index) place(key string, now *entry) {
	var keys []string
	if now != nil {
		keys = x.keys(now)
	}
	had := x.places[key]
	for _, b := range had {
		if !slices.Contains(keys, b.name) {
			x.remove(b, key)
		}
	}
	if len(keys) == 0 {
		if had != nil {
			delete(x.places, key)
		}
		return
	}
	have := make([]*bucket, 0, len(keys))
	for _, k := range keys {
		have = append(have, x.add(k, now))
	}
	x.places[key] = have
}

func (x *index) add(key string, e *entry) *bucket {
	b := x.buckets[key]
	if b == nil {
		b = &bucket{name: key}
		x.buckets[key] = b
	}
	if n, found := b.find(e.key); found {
		b.entries[n] = e
	} else {
		b.entries = slices.Insert(b.entries, n, e)
	}
	return b
}

func (x *index) remove(b *bucket, key string) {
	if n, found := b.find(key); found {
		b.entries = slices.Delete(b.entries, n, n+1)
	}
	if len(b.entries) == 0 {
		delete(x.buckets, b.name)
	}
}

func (b *bucket) find(key string) (int, bool) {
	return slices.BinarySearchFunc(b.entries, key, func(e *entry, key string) int { return cmp.Compare(e.key, key) })
}
