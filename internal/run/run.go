// Package run is the whole life-cycle library: everything that lives is a function that blocks until
// its context ends, and Group runs several of them as one.
package run

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Func is a long-lived part: it blocks, returns when ctx ends, and leaves no goroutine behind.
type Func func(ctx context.Context) error

// Group runs all parts until ctx ends or the first of them returns, then ends the others, waits for all,
// and returns the first error that is not a cancellation. A part that returns nil while ctx is alive ends the group too.
func Group(ctx context.Context, parts ...Func) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for _, part := range parts {
		wg.Go(func() {
			err := part(ctx)
			if err != nil && !errors.Is(err, context.Canceled) {
				once.Do(func() { first = err })
			}
			cancel()
		})
	}
	wg.Wait()
	return first
}

// Pause waits, and tells whether the time is over: false means that ctx has ended.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
