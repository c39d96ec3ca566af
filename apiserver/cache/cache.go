// Package cache is the watch cache: every list, get and watch that the API server answers comes from here.
//
// One watch over the whole store feeds it, so one revision cursor says how fresh everything is. Per resource it keeps a copy-on-write b-tree
// (a Snapshot is O(1)) and a ring of recent events. It does not write, authorise, speak HTTP or know any encoding: a Resource brings
// its codec. Start with Cache and Table.
package cache

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Object is what the cache holds, decoded.
type Object interface {
	metav1.Object
	runtime.Object
}

// Entry is one stored object at one revision. Immutable and shared: nobody writes to what its methods return.
type Entry interface {
	Key() string // below the resource's prefix: "namespace/name" or "name"
	Namespace() string
	Name() string
	Revision() int64
	Labels() labels.Set
	Fields() fields.Set // what field selectors see
	// Stored is the value as it lies in the store.
	Stored() []byte
	// Object is the decoded object with its resourceVersion set and apiVersion and kind filled in; decoded at most once
	// while it stays in memory. Nil when the stored bytes cannot be decoded; that has been logged.
	Object() Object
	// Meta is for those who look at metadata alone: the decoded object while that is in memory, and otherwise metadata (without
	// managedFields) that was decoded for this caller and is not kept. Nil as with Object.
	Meta() Object
	// JSON is the finished JSON document in the storage version (resourceVersion, kind and apiVersion in place), made once
	// while it stays in memory. Nil when the object cannot be decoded or encoded.
	JSON() []byte
	// Proto is the finished protobuf body of the object, without the k8s envelope, resourceVersion in place. Nil for custom
	// resources. It is made anew each time; AppendProto saves the allocation.
	Proto() []byte
	AppendProto(dst []byte) []byte
}

// Snapshot is a resource as of one revision. It costs nothing to hold for a short while (a paged list re-creates it from the continue token).
type Snapshot interface {
	Revision() int64
	Len() int
	// Ascend calls fn for the entries with the given key prefix ("" or "namespace/") that are not before from, in key order, until fn returns false.
	Ascend(prefix, from string, fn func(Entry) bool)
	Get(key string) (Entry, bool)
}

// ChangeType is what a watcher sees.
type ChangeType int

// The change types.
const (
	Added ChangeType = iota
	Modified
	Deleted
	Bookmark // no entry; only the revision moved on
)

// Change is one event of one resource as one watcher sees it. Frames that watchers send are made once per form and shared: see Frame.
type Change struct {
	Type     ChangeType
	Revision int64
	Entry    Entry // after the change; for Deleted: the last state, with Revision the removal's
	Prev     Entry // before the change; nil for Added

	event *event // what the watchers share; nil for a Change made elsewhere
}

// WatchOptions says what a watcher wants.
type WatchOptions struct {
	// Since: changes after this revision. Expired (errkind) when the ring no longer holds it, also for revisions before this process started.
	Since int64
	// Prefix restricts to "namespace/" (or "namespace/name" with Exact).
	Prefix string
	Exact  bool
	// Field and Value restrict to entries whose Fields()[Field] is Value. Thousands of watchers that differ in Value (a node's
	// pods) cost no more than one.
	Field, Value string
	// Match restricts to entries it accepts: an object that a change makes match is Added to this watcher, one that a change makes
	// not match is Deleted. It runs in the watcher's goroutine. Nil: all.
	Match func(Entry) bool
	// Bookmarks asks for a Bookmark about once a minute. A Bookmark at the end of the initial state is the caller's: the revision
	// is the snapshot's.
	Bookmarks bool
	// Gapless is for loops in this process: when the cache has to be loaded again, the watcher is told what is different
	// instead of being ended.
	Gapless bool
	// Queue is how many changes may wait before the watcher is closed as too slow. 0: the default of 4,096; negative: no bound,
	// for loops in this process.
	Queue int
}

// Resource is one collection of objects in the store, with its codec. The functions are called from many goroutines.
type Resource struct {
	Name   string // unique, such as "pods" or "deployments.apps"
	Prefix string // of the keys, with the slash at the end: "/registry/pods/"

	// Decode makes the object, with resourceVersion, apiVersion and kind filled in.
	Decode func(stored []byte, revision int64) (Object, error)
	// DecodeMeta makes an object of the metadata alone; managedFields may be left out. Nil: Decode serves for it.
	DecodeMeta func(stored []byte, revision int64) (Object, error)
	// Fields is what field selectors see. Nil: metadata.name and metadata.namespace.
	Fields func(Object) fields.Set
	// ToJSON makes Entry.JSON, from Object (which may be nil) or Stored as it likes.
	ToJSON func(Entry) ([]byte, error)
	// AppendProto makes Entry.Proto. Nil: the resource has no protobuf form.
	AppendProto func(dst []byte, e Entry) []byte

	// HistoryEvents and HistoryBytes bound the ring of recent events. 0: 8,192 events and 32 MiB.
	HistoryEvents int
	HistoryBytes  int
}

func (r *Resource) validate() error {
	switch {
	case r.Name == "":
		return errkind.New(errkind.Invalid, "resource with prefix %q has no name", r.Prefix)
	case r.Prefix == "" || r.Prefix[len(r.Prefix)-1] != '/':
		return errkind.New(errkind.Invalid, "resource %q: prefix %q does not end in a slash", r.Name, r.Prefix)
	case r.Decode == nil:
		return errkind.New(errkind.Invalid, "resource %q has no decoder", r.Name)
	}
	return nil
}

// Config is what a Cache is made of.
type Config struct {
	Store     storage.Store
	Prefix    string // what is watched; "": "/registry/"
	Resources []Resource
	Logger    *slog.Logger // nil: none
	PageSize  int64        // keys per range at load; 0: 5,000
}

// Cache holds all resources of one store.
type Cache struct {
	cfg   Config
	log   *slog.Logger
	ready chan struct{} // closed after the first load
	done  chan struct{} // closed when Run has ended
	clock cursor

	mu     sync.Mutex // orders Add and Remove
	feed   sync.Mutex // held while a batch is applied and delivered, so that no watcher ends in the middle of one
	tables atomic.Pointer[tables]

	counters counters
	trimmer  trimmer
}

// tables is an immutable set of tables.
type tables struct {
	byName   map[string]*Table
	byPrefix map[string]*Table
	beside   map[*Table]*Table // what is to take the place of a table
}

// New makes a cache of the store. Nothing is read before Run.
func New(cfg Config) (*Cache, error) {
	if cfg.Store == nil {
		return nil, errkind.New(errkind.Invalid, "cache needs a store")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "/registry/"
	}
	if cfg.PageSize == 0 {
		cfg.PageSize = 5000
	}
	c := &Cache{cfg: cfg, log: cfg.Logger, ready: make(chan struct{}), done: make(chan struct{})}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.clock.init(c.done)
	c.trimmer.full = make(chan struct{}, 1)
	c.tables.Store(&tables{})
	for _, r := range cfg.Resources {
		if _, err := c.register(r, false); err != nil {
			return nil, err
		}
	}
	c.cfg.Resources = nil
	return c, nil
}

// Ready is closed once everything has been loaded for the first time.
func (c *Cache) Ready() <-chan struct{} { return c.ready }

// Table returns the resource's table, or nil.
func (c *Cache) Table(name string) *Table { return c.tables.Load().byName[name] }

// Add makes another resource known (a custom one) and returns once it is loaded. The cache must be running.
func (c *Cache) Add(ctx context.Context, r Resource) (*Table, error) {
	if err := c.waitReady(ctx); err != nil {
		return nil, err
	}
	t, err := c.register(r, true)
	if err != nil {
		return nil, err
	}
	if err := t.join(ctx); err != nil {
		c.Remove(t)
		return nil, err
	}
	return t, nil
}

// Replace loads a resource that is there already once more, with another codec, and returns once that is done. The new table is beside the
// old one until Promote puts it in its place or Remove takes it away; one replacement at a time.
func (c *Cache) Replace(ctx context.Context, r Resource) (*Table, error) {
	if err := c.waitReady(ctx); err != nil {
		return nil, err
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	t, err := c.registerBeside(r)
	if err != nil {
		return nil, err
	}
	if err := t.join(ctx); err != nil {
		c.Remove(t)
		return nil, err
	}
	return t, nil
}

func (c *Cache) registerBeside(r Resource) (*Table, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.tables.Load().clone()
	old := next.byName[r.Name]
	if old == nil || old.resource.Prefix != r.Prefix {
		return nil, errkind.New(errkind.NotFound, "resource %q with prefix %q is not there to be replaced", r.Name, r.Prefix)
	}
	if next.beside[old] != nil {
		return nil, errkind.New(errkind.Exists, "resource %q is being replaced already", r.Name)
	}
	t := newTable(c, r, true)
	next.beside[old] = t
	c.tables.Store(next)
	return t, nil
}

// Promote puts a table that Replace returned in the place of the one before it, whose watchers end as with Remove.
func (c *Cache) Promote(t *Table) {
	c.feed.Lock()
	defer c.feed.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.tables.Load().clone()
	old := next.byName[t.resource.Name]
	if old == nil || next.beside[old] != t {
		return
	}
	delete(next.beside, old)
	next.byName[t.resource.Name], next.byPrefix[t.resource.Prefix] = t, t
	c.tables.Store(next)
	old.gone()
}

// Remove forgets a table. Its watchers end with NotFound; what it held can still be read by who has it, and grows old.
func (c *Cache) Remove(t *Table) {
	c.feed.Lock()
	defer c.feed.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.tables.Load().clone()
	for old, beside := range next.beside {
		if beside == t {
			delete(next.beside, old)
		}
	}
	if next.byName[t.resource.Name] == t {
		delete(next.byName, t.resource.Name)
		delete(next.byPrefix, t.resource.Prefix)
		delete(next.beside, t)
	}
	c.tables.Store(next)
	t.gone()
}

func (t *Table) gone() {
	err := errkind.New(errkind.NotFound, "resource %q is no longer served", t.resource.Name)
	t.watchMu.Lock()
	t.ended = err
	t.watchMu.Unlock()
	t.closeWatchers(err)
}

func (c *Cache) register(r Resource, loading bool) (*Table, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.tables.Load().clone()
	if next.byName[r.Name] != nil || next.byPrefix[r.Prefix] != nil {
		return nil, errkind.New(errkind.Exists, "resource %q with prefix %q is there already", r.Name, r.Prefix)
	}
	t := newTable(c, r, loading)
	next.byName[r.Name], next.byPrefix[r.Prefix] = t, t
	c.tables.Store(next)
	return t, nil
}

func (s *tables) clone() *tables {
	next := &tables{byName: map[string]*Table{}, byPrefix: map[string]*Table{}, beside: maps.Clone(s.beside)}
	if next.beside == nil {
		next.beside = map[*Table]*Table{}
	}
	for name, t := range s.byName {
		next.byName[name] = t
		next.byPrefix[t.resource.Prefix] = t
	}
	return next
}

// find returns the table that the stored key belongs to. The first prefix that is a resource's wins.
func (s *tables) find(key string) *Table {
	for i := 1; i < len(key); i++ {
		if key[i] == '/' {
			if t := s.byPrefix[key[:i+1]]; t != nil {
				return t
			}
		}
	}
	return nil
}

// all calls f with every table.
func (s *tables) all(f func(*Table)) {
	for _, t := range s.byName {
		f(t)
	}
	for _, t := range s.beside {
		f(t)
	}
}

func (c *Cache) waitReady(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-c.done:
		return errStopped()
	case <-ctx.Done():
		return errkind.New(errkind.Unavailable, "wait for the cache to load: %w", ctx.Err())
	}
}

func errStopped() error { return errkind.New(errkind.Unavailable, "the cache has stopped") }
