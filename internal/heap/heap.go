// Package heap suits the collector to what the process does: while much is allocated it collects seldom, and when that is over it gives the
// memory back. A server that is at rest stays small, and one under load does not spend a tenth of its time on collecting.
//
// It is not a memory limit; that is GOMEMLIMIT's, which is kept all the same. Who sets GOGC has it as it is set. Start with Run.
package heap

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	restPercent = 100 // the collector's own
	busyPercent = 400
	leastSpare  = 24 << 20 // so much is worth a collection, and giving it back

	// maxGarbage bounds what a busy process lets lie beside a large heap, beyond what a resting one would.
	maxGarbage = 256 << 20

	// quick is how soon after each other collections mean that the process is busy.
	quick = time.Second
	// calm is how long little must be allocated until it rests, and quiet how much little is, by the second.
	calm  = 500 * time.Millisecond
	quiet = 8 << 20
)

// Run watches the collector until ctx ends, and then leaves it as it was.
func Run(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return nil
	}
	defer debug.SetGCPercent(debug.SetGCPercent(restPercent))
	collected := make(chan struct{}, 1)
	sense(ctx, collected)
	var p pace
	timer := time.NewTimer(calm)
	timer.Stop()
	defer timer.Stop()
	for {
		var do step
		select {
		case <-ctx.Done():
			return nil
		case <-collected:
			do = p.collected(time.Now(), read())
		case <-timer.C:
			do = p.elapsed(time.Now(), read())
		}
		if do.percent != 0 {
			debug.SetGCPercent(do.percent)
		}
		if do.giveBack {
			debug.FreeOSMemory()
		}
		if do.again {
			timer.Reset(calm)
		}
	}
}

// sense tells of every collection: an object that nobody holds is found by the next one, and is replaced by another.
func sense(ctx context.Context, collected chan<- struct{}) {
	type probe struct{ _ [32]byte }
	runtime.AddCleanup(&probe{}, func(ctx context.Context) {
		if ctx.Err() != nil {
			return
		}
		select {
		case collected <- struct{}{}:
		default:
		}
		sense(ctx, collected)
	}, ctx)
}

// reading is what the runtime says of its memory.
type reading struct {
	live      uint64 // bytes that the last collection found in use
	allocated uint64 // bytes, since the start of the process
	held      uint64 // bytes that the heap holds of the system
}

// spare is what a collection now could give back at most.
func (r reading) spare() uint64 { return r.held - min(r.held, r.live) }

func read() reading {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(samples)
	n := func(i int) uint64 { return samples[i].Value.Uint64() }
	return reading{live: n(0), allocated: n(1), held: n(2) + n(3) + n(4)}
}
