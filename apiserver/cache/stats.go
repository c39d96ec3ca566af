package cache

import "sync/atomic"

type counters struct {
	events, decoded, adopted, slow         atomic.Int64
	batches, reloads, roundTrips, progress atomic.Int64
}

// Stats are a cache's counters since its start, and its present sizes.
type Stats struct {
	Revision   int64
	Batches    int64 // from the store
	Reloads    int64 // because history was compacted away under the watch
	RoundTrips int64 // to learn the store's revision
	Progress   int64 // requests for progress
	Tables     map[string]TableStats
}

// TableStats are a table's.
type TableStats struct {
	Entries  int
	Watchers int
	History  int   // events in the ring
	Events   int64 // applied
	Decoded  int64 // objects made from stored bytes
	Adopted  int64 // objects taken over from a writer in this process
	Slow     int64 // watchers closed because they were too slow
}

// Stats returns the counters.
func (c *Cache) Stats() Stats {
	s := Stats{
		Revision:   c.Revision(),
		Batches:    c.counters.batches.Load(),
		Reloads:    c.counters.reloads.Load(),
		RoundTrips: c.counters.roundTrips.Load(),
		Progress:   c.counters.progress.Load(),
		Tables:     map[string]TableStats{},
	}
	for name, t := range c.tables.Load().byName {
		s.Tables[name] = t.stats()
	}
	return s
}

func (t *Table) stats() TableStats {
	s := TableStats{
		Events:  t.counters.events.Load(),
		Decoded: t.counters.decoded.Load(),
		Adopted: t.counters.adopted.Load(),
		Slow:    t.counters.slow.Load(),
	}
	t.mu.RLock()
	s.Entries, s.History = t.tree.Len(), t.history.len()
	t.mu.RUnlock()
	t.watchMu.Lock()
	s.Watchers = len(t.watchers.all)
	t.watchMu.Unlock()
	return s
}
