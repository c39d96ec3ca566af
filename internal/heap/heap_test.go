package heap

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const mib = 1 << 20
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var p pace
	for i, c := range []struct {
		after     time.Duration
		collected bool // or the time is up
		reading   reading
		want      string
	}{
		{0, true, reading{live: 10 * mib}, " look again"},
		{time.Second, false, reading{live: 10 * mib, held: 12 * mib}, ""},
		{2 * time.Minute, true, reading{live: 10 * mib, allocated: 10 * mib}, " look again"},                    // as at rest
		{500 * time.Millisecond, true, reading{live: 10 * mib, allocated: 20 * mib}, " percent 400 look again"}, // two at once
		{500 * time.Millisecond, true, reading{live: 20 * mib, allocated: 100 * mib}, " look again"},
		{500 * time.Millisecond, false, reading{allocated: 140 * mib}, " look again"}, // 120 MB by the second
		{900 * time.Millisecond, true, reading{live: 200 * mib, allocated: 500 * mib}, " percent 228 look again"},
		{100 * time.Millisecond, false, reading{allocated: 600 * mib}, " look again"},
		{time.Second, false, reading{live: 200 * mib, allocated: 604 * mib, held: 400 * mib}, " percent 100 give back"},
		{10 * time.Millisecond, true, reading{live: 200 * mib, allocated: 605 * mib}, " look again"}, // that is the one that gave back
		{time.Second, false, reading{live: 200 * mib, allocated: 605 * mib, held: 300 * mib}, ""},    // the rest is not to be had
		{time.Minute, true, reading{live: 200 * mib, allocated: 700 * mib}, " look again"},
		{time.Second / 2, true, reading{live: 2000 * mib, allocated: 2000 * mib}, " look again"}, // a large heap may have little garbage
		{time.Second, false, reading{live: 2000 * mib, allocated: 2001 * mib, held: 2010 * mib}, " percent 100"},
	} {
		now = now.Add(c.after)
		var do step
		if c.collected {
			do = p.collected(now, c.reading)
		} else {
			do = p.elapsed(now, c.reading)
		}
		if do.String() != c.want {
			t.Errorf("step %d: got %q, want %q", i, do.String(), c.want)
		}
	}
}

// TestSense holds that every collection is told of, and that nothing is after the end.
func TestSense(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	collected := make(chan struct{}, 1)
	sense(ctx, collected)
	for range 3 {
		runtime.GC()
		select {
		case <-collected:
		case <-time.After(10 * time.Second):
			t.Fatal("a collection was not told of")
		}
	}
	cancel()
}

// TestRunLeavesNothing holds that the collector is as before when Run has ended, and that it lets a busy process have more garbage.
func TestRunLeavesNothing(t *testing.T) {
	before := debug.SetGCPercent(123)
	defer debug.SetGCPercent(before)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx) }()
	var kept [][]byte
	percent := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	for deadline := time.Now().Add(20 * time.Second); percent() < busyPercent; {
		if time.Now().After(deadline) {
			t.Fatalf("a busy process collects at %d %%", percent())
		}
		kept = kept[:0]
		for range 64 {
			kept = append(kept, make([]byte, 1<<20))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := percent(); got != 123 {
		t.Errorf("afterwards it collects at %d %%, want 123", got)
	}
}
