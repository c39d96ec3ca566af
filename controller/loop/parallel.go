package loop

import (
	"context"
	"errors"
	"sync"
)

// parallelism bounds the writes one reconcile has under way; the store commits that many together.
const parallelism = 32

// ForEach calls fn for every item, many at a time, and returns the joined errors. An error ends no other call.
func ForEach[T any](ctx context.Context, items []T, fn func(context.Context, T) error) error {
	if len(items) == 1 {
		return fn(ctx, items[0])
	}
	var (
		wg   sync.WaitGroup
		gate = make(chan struct{}, parallelism)
		errs = make([]error, len(items))
	)
	for i, item := range items {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			errs[i] = fn(ctx, item)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
