package cache

import (
	"container/heap"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// cursor is how far the cache has come, and who waits for it to come further.
type cursor struct {
	applied   atomic.Int64 // every change up to it is in the tables
	delivered atomic.Int64 // every change up to it is in the watchers' queues
	done      <-chan struct{}

	mu      sync.Mutex
	waiting waiters
	behind  chan struct{} // holds a token when a waiter has lost patience

	freshMu sync.Mutex
	next    *roundTrip // the one that has not started yet
	asked   chan struct{}
}

// roundTrip is one question for the store's revision that several callers share.
type roundTrip struct {
	done     chan struct{}
	revision int64
	err      error
}

type waiter struct {
	revision int64
	reached  chan struct{}
	index    int
}

type waiters []*waiter

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return w[i].revision < w[j].revision }
func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}
func (w *waiters) Push(x any) {
	one := x.(*waiter)
	one.index = len(*w)
	*w = append(*w, one)
}
func (w *waiters) Pop() any {
	old := *w
	one := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	one.index = -1
	return one
}

func (c *cursor) init(done <-chan struct{}) {
	c.done = done
	c.behind = make(chan struct{}, 1)
	c.asked = make(chan struct{}, 1)
}

// advance moves on and wakes those who waited for it. It never moves back: after a reload the store is where it was or further.
func (c *cursor) advance(revision int64) {
	if revision <= c.applied.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied.Store(revision)
	for len(c.waiting) > 0 && c.waiting[0].revision <= revision {
		close(heap.Pop(&c.waiting).(*waiter).reached)
	}
}

func (c *cursor) wait(ctx context.Context, revision int64, patience time.Duration) error {
	c.mu.Lock()
	if c.applied.Load() >= revision {
		c.mu.Unlock()
		return nil
	}
	w := &waiter{revision: revision, reached: make(chan struct{})}
	heap.Push(&c.waiting, w)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if w.index >= 0 {
			heap.Remove(&c.waiting, w.index)
		}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-w.reached:
			return nil
		case <-timer.C:
			// The store's revision may have moved on by a key outside our prefix, which only progress tells us.
			select {
			case c.behind <- struct{}{}:
			default:
			}
			timer.Reset(patience)
		case <-c.done:
			return errStopped()
		case <-ctx.Done():
			return errkind.New(errkind.Unavailable, "wait for revision %d, the cache is at %d: %w", revision, c.applied.Load(), ctx.Err())
		}
	}
}

// patience is how long a waiter waits before the store is asked for progress.
const patience = 20 * time.Millisecond

// Revision returns how far the cache has come. Fresh says how far the store has.
func (c *Cache) Revision() int64 { return c.clock.applied.Load() }

// WaitFor returns once the cache has reached the revision: a read that must not be older than it.
func (c *Cache) WaitFor(ctx context.Context, revision int64) error {
	if c.clock.applied.Load() >= revision {
		return nil
	}
	return c.clock.wait(ctx, revision, patience)
}

// Fresh returns once the cache has everything that was written before the call: what is read from a table then is as fresh as
// a quorum read. It returns the store's revision. Concurrent callers share a round trip, and none is made where the store
// knows its revision by itself.
func (c *Cache) Fresh(ctx context.Context) (int64, error) {
	if err := c.waitReady(ctx); err != nil {
		return 0, err
	}
	revision, err := c.storeRevision(ctx)
	if err != nil {
		return 0, err
	}
	return revision, c.WaitFor(ctx, revision)
}

func (c *Cache) storeRevision(ctx context.Context) (int64, error) {
	if instant, ok := c.cfg.Store.(storage.Instant); ok {
		if revision, ok := instant.RevisionNow(); ok {
			return revision, nil
		}
	}
	// Only a question that has not been sent yet may be shared: the answer to one under way can be older than a write
	// that was acknowledged before this call.
	c.clock.freshMu.Lock()
	trip := c.clock.next
	if trip == nil {
		trip = &roundTrip{done: make(chan struct{})}
		c.clock.next = trip
	}
	c.clock.freshMu.Unlock()
	select {
	case c.clock.asked <- struct{}{}:
	default:
	}
	select {
	case <-trip.done:
		return trip.revision, trip.err
	case <-c.done:
		return 0, errStopped()
	case <-ctx.Done():
		return 0, errkind.New(errkind.Unavailable, "ask the store for its revision: %w", ctx.Err())
	}
}

// answerRevisions makes the round trips that Fresh asks for, one after the other.
func (c *Cache) answerRevisions(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.clock.asked:
		}
		c.clock.freshMu.Lock()
		trip := c.clock.next
		c.clock.next = nil
		c.clock.freshMu.Unlock()
		if trip == nil {
			continue
		}
		c.counters.roundTrips.Add(1)
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		trip.revision, trip.err = c.cfg.Store.Revision(limited)
		cancel()
		close(trip.done)
	}
}

// askProgress asks the store for progress when a waiter has lost patience.
func (c *Cache) askProgress(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.clock.behind:
		}
		c.counters.progress.Add(1)
		if err := c.cfg.Store.Progress(ctx); err != nil && ctx.Err() == nil {
			c.log.Debug("ask the store for progress", "err", err)
		}
	}
}
