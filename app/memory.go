package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go's collector lets garbage grow to as much as what lives, and gives memory back to the system slowly. After a burst that is most of the process: a
// server that has made ten thousand pods holds three times what it needs. So once things are calm, what is not needed is collected and given back.
const (
	calmEvery   = time.Second
	calmAllocs  = 1 << 20  // bytes allocated within calmEvery: less is calm
	worthGiving = 16 << 20 // bytes to be had: less is not worth a collection
)

// usage is how the heap stands, in bytes.
type usage struct {
	allocated uint64 // ever
	objects   uint64 // living, or dead and not collected
	live      uint64 // found living by the last collection
	spare     uint64 // held from the system, but not in use
}

// shouldGive says whether a collection is worth its cost now.
func shouldGive(before, now usage) bool {
	garbage := uint64(0)
	if now.objects > now.live {
		garbage = now.objects - now.live
	}
	return now.allocated-before.allocated < calmAllocs && garbage+now.spare >= max(worthGiving, now.live/2)
}

// giveBack returns memory to the system whenever a burst is over, until ctx ends.
func giveBack(ctx context.Context) error {
	tick := time.NewTicker(calmEvery)
	defer tick.Stop()
	before := readUsage()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := readUsage()
		if shouldGive(before, now) {
			debug.FreeOSMemory()
			now = readUsage()
		}
		before = now
	}
}

func readUsage() usage {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(samples)
	value := func(i int) uint64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0 // a later Go may not have it
		}
		return samples[i].Value.Uint64()
	}
	// Of what is held in used spans about half can be given back by a collection that empties some; it is counted so.
	return usage{allocated: value(0), objects: value(1), live: value(2), spare: value(3) + value(4)/2}
}
