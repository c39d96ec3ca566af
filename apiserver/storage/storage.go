// Package storage is the API server's store: a flat map from key to bytes with one revision counter over everything.
//
// It knows nothing of kinds, objects or encodings. Start with Store; storage/etcd is the implementation that serves,
// storage/memory the honest fake for tests, and storage/storagetest the suite both pass.
package storage

import "context"

// KV is one stored key. Values are immutable: nobody writes to Value after it was handed over.
type KV struct {
	Key            string
	Value          []byte
	CreateRevision int64
	ModRevision    int64 // the revision of the last write to this key
}

// Page is part of a range, as of Revision.
type Page struct {
	Revision int64
	KVs      []KV  // in key order
	More     bool  // there are keys after the last one
	Count    int64 // keys from the start of this page to the end of the range, those that limit cut off included
}

// EventType says what happened to a key.
type EventType int

// The event types.
const (
	Put    EventType = iota // created (CreateRevision == ModRevision) or changed
	Delete                  // removed
)

// Event is one change. For Delete, KV carries the key and, as ModRevision, the revision of the removal only. What was there
// before is not told: whoever needs it (the cache) has kept it, and asking etcd for it would cost a read per event.
type Event struct {
	Type EventType
	KV   KV
}

// Batch is what a watch delivers: all events up to and including Revision. A batch without events is progress:
// nothing at or below Revision is still to come.
type Batch struct {
	Revision int64
	Events   []Event // in revision order
	Err      error   // set on the last batch only; errkind.Expired when the start revision was compacted
}

// Store is the seam to etcd, in the shape of clientv3. All methods are safe for concurrent use and honour ctx.
// Error kinds: NotFound, Exists, Conflict (another revision than the one expected), Expired (compacted), Invalid (a value too
// large, an empty key), Exhausted (the store is full), Unavailable (all else; a write may then have happened or not).
// An error that comes from ctx also is that ctx's error; a write whose ctx had ended before does not happen.
type Store interface {
	// Get returns the key and the store's revision at the time of the read (linearizable).
	Get(ctx context.Context, key string) (kv KV, revision int64, err error)
	// Range returns at most limit keys (0: all) with the prefix that are not before from ("": the first), as of revision
	// (0: now, linearizable; one not reached yet: Unavailable). Page.Revision is the revision the keys are as of.
	Range(ctx context.Context, prefix, from string, limit, revision int64) (Page, error)
	// Create stores value if the key is absent and returns the new revision.
	Create(ctx context.Context, key string, value []byte) (int64, error)
	// Update stores value if the key's ModRevision is still expect, and returns the new revision.
	Update(ctx context.Context, key string, value []byte, expect int64) (int64, error)
	// Delete removes the key if its ModRevision is still expect, and returns the revision of the removal.
	Delete(ctx context.Context, key string, expect int64) (int64, error)
	// Watch delivers every change under the prefix from revision from on (0: from now on; what is written after Watch returned is
	// delivered). The channel closes after a batch with Err, or when ctx ends. A slow reader never loses events; it holds memory.
	// Losing the store for a while is not an error: the watch goes on where it was.
	Watch(ctx context.Context, prefix string, from int64) <-chan Batch
	// Progress asks that every watch soon delivers a batch, possibly without events, that reaches at least the revision of now.
	Progress(ctx context.Context) error
	// Revision returns the present revision, as fresh as a quorum read.
	Revision(ctx context.Context) (int64, error)
	// Compact forgets history before revision. Reads as of an earlier revision, and watches that start there, then fail with
	// Expired. Compacting again at or before the same revision does nothing; a revision not reached yet is Invalid.
	Compact(ctx context.Context, revision int64) error
}

// Instant is a Store that may know its revision without a round trip.
type Instant interface {
	// RevisionNow returns what Revision would, or false when that needs a round trip.
	RevisionNow() (int64, bool)
}
