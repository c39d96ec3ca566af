package scheduler

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"k8s.io/apimachinery/pkg/types"
)

// TestOutbox holds that nobody waits for a write, that bindings go before remarks, and that only the latest remark about a pod is made.
func TestOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		o := newOutbox()
		gate := make(chan struct{})
		var mu sync.Mutex
		var done []string
		note := func(what string) write {
			return func(context.Context) {
				mu.Lock()
				done = append(done, what)
				mu.Unlock()
			}
		}
		under := 0
		for range writesInFlight {
			o.bind(ctx, func(context.Context) {
				mu.Lock()
				under++
				mu.Unlock()
				<-gate
			})
		}
		o.remark(ctx, "a", note("a is old"))
		o.remark(ctx, types.UID("b"), note("b"))
		o.remark(ctx, "a", note("a"))
		for range 1000 {
			o.bind(ctx, note("binding")) // returns, though as many writes as may are under way
		}
		synctest.Wait()
		if under != writesInFlight || len(done) != 0 {
			t.Fatalf("%d writes under way and %d done, want %d and none", under, len(done), writesInFlight)
		}
		close(gate)
		synctest.Wait()
		if len(done) != 1002 {
			t.Fatalf("%d writes were made, want 1002", len(done))
		}
		if slices.Contains(done[:900], "a") || slices.Contains(done[:900], "b") || slices.Contains(done, "a is old") {
			t.Errorf("remarks were made before bindings, or one that was out of date: %v", done)
		}
		if o.workers != 0 {
			t.Errorf("%d workers are left without work", o.workers)
		}
		cancel()
		o.bind(ctx, note("too late"))
		o.wait()
		if slices.Contains(done, "too late") {
			t.Error("a write was made after the end")
		}
	})
}
