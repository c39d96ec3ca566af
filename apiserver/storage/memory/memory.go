// Package memory is the honest fake of the API server's store: all of etcd's rules, none of its durability.
//
// It keeps every version of every key until Compact, so reads and watches at old revisions work as they do in etcd. It is
// for tests and throw-away servers; storage/etcd is the one that serves. Start with Store.
package memory

import (
	"context"
	"strings"
	"sync"

	"github.com/google/btree"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// version is one write to a key; a nil value is its removal.
type version struct {
	value             []byte
	created, revision int64
}

// item is a key with its versions, oldest first.
type item struct {
	key      string
	versions []version
}

func (i *item) last() version { return i.versions[len(i.versions)-1] }

// at returns what the key held as of revision.
func (i *item) at(revision int64) (version, bool) {
	for n := len(i.versions) - 1; n >= 0; n-- {
		if v := i.versions[n]; v.revision <= revision {
			return v, v.value != nil
		}
	}
	return version{}, false
}

// Store is a storage.Store in memory. It prints as its present content.
type Store struct {
	mu        sync.RWMutex
	items     *btree.BTreeG[*item]
	revision  int64
	compacted int64
	log       []storage.Event // since compacted, in revision order
	watchers  map[*watcher]struct{}
}

var (
	_ storage.Store   = (*Store)(nil)
	_ storage.Instant = (*Store)(nil)
)

// New returns an empty store at revision 1, as a new etcd is.
func New() *Store {
	return &Store{
		items:    btree.NewG(32, func(a, b *item) bool { return a.key < b.key }),
		revision: 1,
		watchers: map[*watcher]struct{}{},
	}
}

// String lists the present keys with their revisions, one a line.
func (s *Store) String() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var b strings.Builder
	s.items.Ascend(func(i *item) bool {
		if v := i.last(); v.value != nil {
			b.WriteString(i.key + "@" + itoa(v.revision) + "\n")
		}
		return true
	})
	return b.String()
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key string) (storage.KV, int64, error) {
	if err := ctx.Err(); err != nil {
		return storage.KV{}, 0, ended("get", key, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i, ok := s.items.Get(&item{key: key}); ok {
		if v := i.last(); v.value != nil {
			return kv(key, v), s.revision, nil
		}
	}
	return storage.KV{}, s.revision, errkind.New(errkind.NotFound, "key %q not found", key)
}

// Range implements storage.Store.
func (s *Store) Range(ctx context.Context, prefix, from string, limit, revision int64) (storage.Page, error) {
	if err := ctx.Err(); err != nil {
		return storage.Page{}, ended("range", prefix, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case revision == 0:
		revision = s.revision
	case revision < s.compacted:
		return storage.Page{}, errkind.New(errkind.Expired, "revision %d has been compacted at %d", revision, s.compacted)
	case revision > s.revision:
		return storage.Page{}, errkind.New(errkind.Unavailable, "revision %d is not reached yet, the store is at %d", revision, s.revision)
	}
	page := storage.Page{Revision: revision}
	s.items.AscendGreaterOrEqual(&item{key: max(from, prefix)}, func(i *item) bool {
		if !strings.HasPrefix(i.key, prefix) {
			return false
		}
		v, ok := i.at(revision)
		if !ok {
			return true
		}
		page.Count++
		if limit > 0 && page.Count > limit {
			page.More = true
			return true
		}
		page.KVs = append(page.KVs, kv(i.key, v))
		return true
	})
	return page, nil
}

// Create implements storage.Store.
func (s *Store) Create(ctx context.Context, key string, value []byte) (int64, error) {
	return s.write(ctx, "create", key, value, func(last version) error {
		if last.value != nil {
			return errkind.New(errkind.Exists, "key %q already exists", key)
		}
		return nil
	})
}

// Update implements storage.Store.
func (s *Store) Update(ctx context.Context, key string, value []byte, expect int64) (int64, error) {
	return s.write(ctx, "update", key, value, func(last version) error { return expected(key, last, expect) })
}

// Delete implements storage.Store.
func (s *Store) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	return s.write(ctx, "delete", key, nil, func(last version) error { return expected(key, last, expect) })
}

func expected(key string, last version, expect int64) error {
	switch {
	case last.value == nil:
		return errkind.New(errkind.NotFound, "key %q not found", key)
	case last.revision != expect:
		return errkind.New(errkind.Conflict, "key %q is at revision %d, not %d", key, last.revision, expect)
	}
	return nil
}

// write is one transaction: check what is there, then append a version.
func (s *Store) write(ctx context.Context, verb, key string, value []byte, check func(last version) error) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, ended(verb, key, err)
	}
	if key == "" {
		return 0, errkind.New(errkind.Invalid, "%s: the key is empty", verb)
	}
	if verb != "delete" {
		value = append(make([]byte, 0, len(value)), value...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var last version
	i, ok := s.items.Get(&item{key: key})
	if ok {
		last = i.last()
	}
	if err := check(last); err != nil {
		return 0, err
	}
	if !ok {
		i = &item{key: key}
		s.items.ReplaceOrInsert(i)
	}
	s.revision++
	v := version{value: value, created: last.created, revision: s.revision}
	event := storage.Event{Type: storage.Put}
	switch {
	case value == nil:
		v.created = 0
		event = storage.Event{Type: storage.Delete, KV: storage.KV{Key: key, ModRevision: s.revision}}
	case last.value == nil:
		v.created = s.revision
	}
	if value != nil {
		event.KV = kv(key, v)
	}
	i.versions = append(i.versions, v)
	s.log = append(s.log, event)
	for w := range s.watchers {
		w.push(s.revision, event)
	}
	return s.revision, nil
}

// Revision implements storage.Store.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, ended("read revision", "", err)
	}
	revision, _ := s.RevisionNow()
	return revision, nil
}

// RevisionNow implements storage.Instant.
func (s *Store) RevisionNow() (int64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision, true
}

// Compact implements storage.Store.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	if err := ctx.Err(); err != nil {
		return ended("compact", "", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision > s.revision {
		return errkind.New(errkind.Invalid, "compact at %d: the store is at %d", revision, s.revision)
	}
	if revision <= s.compacted {
		return nil
	}
	s.compacted = revision
	var gone []*item
	s.items.Ascend(func(i *item) bool {
		i.compact(revision)
		if len(i.versions) == 0 {
			gone = append(gone, i)
		}
		return true
	})
	for _, i := range gone {
		s.items.Delete(i)
	}
	n := 0
	for n < len(s.log) && s.log[n].KV.ModRevision < revision {
		n++
	}
	s.log = append([]storage.Event(nil), s.log[n:]...)
	return nil
}

// compact drops the versions that no read as of revision or later can see.
func (i *item) compact(revision int64) {
	n := 0
	for n+1 < len(i.versions) && i.versions[n+1].revision <= revision {
		n++
	}
	if i.versions[n].value == nil { // a key never begins with its removal, so this one is not after revision
		n++
	}
	i.versions = append([]version(nil), i.versions[n:]...)
}

func kv(key string, v version) storage.KV {
	return storage.KV{Key: key, Value: v.value, CreateRevision: v.created, ModRevision: v.revision}
}

func ended(verb, key string, err error) error {
	return errkind.New(errkind.Unavailable, "%s %q: %w", verb, key, err)
}
