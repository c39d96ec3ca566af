package registry

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Registry is what the server serves: one snapshot at a time, swapped as a whole. Reading costs one atomic load and never waits.
//
// Who works with a snapshot keeps the one it began with; a request sees one world from its first step to its last. What depends on the
// rows follows in one of two ways. A pure consequence of the rows is a Derivation. What must be loaded, or refuse, or let go, is a Follower.
type Registry struct {
	current atomic.Pointer[Snapshot]

	mu        sync.Mutex // held through an update, so that updates are one after another
	followers []Follower

	watchMu sync.Mutex
	changed chan struct{} // closed with the next swap
}

// Follower is a part that has to do something when the rows change.
//
// An update calls Prepare of every follower in the order in which they were added, while prev is still what everybody sees. A follower
// makes everything ready there that next needs, such that a request can begin with next the moment it becomes visible, and keeps all
// that prev needs. It may take its time, until ctx ends. An error refuses the whole update: nothing becomes visible, and Abandon of
// those that were prepared before is called, last first. It does not keep prev and next for itself: both may be gone before long.
//
// After the swap Settle is called, in order, to let go of what only prev needed: watches of kinds that went end there. It cannot fail. Requests
// that began with prev may still be under way, so what they hold must stay readable. Exactly one of Settle and Abandon is called, once,
// and no other update begins before it returns.
type Follower interface {
	Prepare(ctx context.Context, prev, next *Snapshot) (Prepared, error)
}

// Prepared is how a follower ends an update. Nil functions: there is nothing to do.
type Prepared struct{ Settle, Abandon func() }

// New returns a registry that serves first.
func New(first *Snapshot) *Registry {
	r := &Registry{changed: make(chan struct{})}
	r.current.Store(first)
	return r
}

// Current is what is served now.
func (r *Registry) Current() *Snapshot { return r.current.Load() }

// Follow adds a follower. It has to be ready for the present snapshot itself: it hears of updates alone.
func (r *Registry) Follow(f Follower) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.followers = append(r.followers, f)
}

// Update serves the rows that change makes of the present ones, and returns once every follower has them. change gets a copy of the list
// and may alter it in place, but never a row that is in it: a row that is to be different is replaced by another. Updates are one after
// another, so change always works on what the one before it left; it is called once and must not call the registry. On an error, of change, of rows
// that do not go together, or of a follower, everything is as it was. Rows that are the same as before make no new snapshot.
func (r *Registry) Update(ctx context.Context, change func(rows []*Kind) ([]*Kind, error)) (*Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	prev := r.Current()
	rows, err := change(append([]*Kind(nil), prev.rows...))
	if err != nil {
		return nil, err
	}
	if equal(rows, prev.rows) {
		return prev, nil
	}
	next, err := newSnapshot(prev.number+1, rows)
	if err != nil {
		return nil, err
	}
	prepared, err := r.prepare(ctx, prev, next)
	if err != nil {
		return nil, err
	}
	r.current.Store(next)
	for _, p := range prepared {
		if p.Settle != nil {
			p.Settle()
		}
	}
	r.announce()
	return next, nil
}

func (r *Registry) prepare(ctx context.Context, prev, next *Snapshot) ([]Prepared, error) {
	var prepared []Prepared
	for _, f := range r.followers {
		p, err := f.Prepare(ctx, prev, next)
		if err == nil && ctx.Err() != nil {
			prepared = append(prepared, p)
			err = errkind.New(errkind.Unavailable, "prepare for other kinds: %w", ctx.Err())
		}
		if err == nil {
			prepared = append(prepared, p)
			continue
		}
		for i := len(prepared) - 1; i >= 0; i-- {
			if prepared[i].Abandon != nil {
				prepared[i].Abandon()
			}
		}
		return nil, err
	}
	return prepared, nil
}

func equal(a, b []*Kind) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (r *Registry) announce() {
	r.watchMu.Lock()
	defer r.watchMu.Unlock()
	close(r.changed)
	r.changed = make(chan struct{})
}

// Changed returns the present snapshot and a channel that is closed once there is a newer one and every follower has settled. Who
// is slow sees the newest alone.
func (r *Registry) Changed() (*Snapshot, <-chan struct{}) {
	r.watchMu.Lock()
	defer r.watchMu.Unlock()
	return r.Current(), r.changed
}
