package cache

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cuppa-project/cuppa/internal/run"
)

// What loops and writers have decoded stays in memory until a sweep finds it unused. After a burst that is far too much: ten thousand pods that
// were made, and looked at once, are twice as large as their bytes. So when much has been decoded, what nobody has asked for within a short
// time is dropped. An object that is wanted again after that is let alone, as somebody comes back for it; then only the sweep drops it.
const (
	keepDecoded = 2048                   // objects that may stay for the sweep
	trimEvery   = 500 * time.Millisecond // and how long the others must not have been used
)

// trimmer counts what was decoded.
type trimmer struct {
	decoded atomic.Int64  // objects kept since the last trim, and those it found
	full    chan struct{} // holds a token once there are more than keepDecoded
}

// kept notes that one more object stays in memory.
func (c *Cache) kept() {
	if c.trimmer.decoded.Add(1) > keepDecoded {
		select {
		case c.trimmer.full <- struct{}{}:
		default:
		}
	}
}

// trim drops what is not used while there is too much, and sleeps when there is not.
func (c *Cache) trim(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.trimmer.full:
		}
		if !run.Pause(ctx, trimEvery) {
			return nil
		}
		left := int64(0)
		c.tables.Load().all(func(t *Table) { left += t.trim() })
		c.trimmer.decoded.Store(left)
		if left > keepDecoded {
			c.trimmer.decoded.Store(keepDecoded)
			c.kept()
		}
	}
}

// trim drops the decoded objects that were not used since the last one, and returns how many might still be dropped.
func (t *Table) trim() (left int64) {
	t.snapshot().tree.Ascend(func(e *entry) bool {
		switch {
		case e.object.Load() == nil || e.again.Load():
		case e.used.Swap(false):
			left++
		default:
			e.trimmed.Store(true)
			e.object.Store(nil)
		}
		return true
	})
	return left
}
