package rest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// TestInParallelBound: with every slot taken the next item waits.
func TestInParallelBound(t *testing.T) {
	const atOnce = 3
	var running, most atomic.Int32
	var once sync.Once
	full := make(chan struct{})
	err := inParallel(t.Context(), atOnce, make([]int, 20), func(int) error {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if n == atOnce {
			once.Do(func() { close(full) })
		}
		<-full // which only closes when all slots are taken
		return nil
	})
	if err != nil || most.Load() != atOnce {
		t.Errorf("%v, at most %d at once, want %d", err, most.Load(), atOnce)
	}
}

// TestInParallelStops: after an error, or when ctx ends, no further item begins, and the reason is returned.
func TestInParallelStops(t *testing.T) {
	broken := errors.New("broken")
	begun := 0
	err := inParallel(t.Context(), 1, make([]int, 5), func(int) error {
		if begun++; begun == 2 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) || begun != 2 {
		t.Errorf("after an error: %v, %d begun, want %v and 2", err, begun, broken)
	}
	ctx, cancel := context.WithCancel(t.Context())
	begun = 0
	err = inParallel(ctx, 1, make([]int, 5), func(int) error {
		begun++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || begun != 1 {
		t.Errorf("after the end of ctx: %v, %d begun, want %v and 1", err, begun, context.Canceled)
	}
}

// TestInParallelPanic: the caller panics, who can answer for it.
func TestInParallelPanic(t *testing.T) {
	defer func() {
		if r := recover(); r != "broken" {
			t.Errorf("recovered %v, want the panic of the item", r)
		}
	}()
	_ = inParallel(t.Context(), 2, make([]int, 5), func(int) error { panic("broken") })
}
