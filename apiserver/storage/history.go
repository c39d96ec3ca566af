package storage

import (
	"context"
	"log/slog"
	"time"
)

// KeepHistory compacts the store so that about the given time of history is kept, until ctx ends. Several servers of one store
// may do it side by side. It looks at the store ten times per keep; a store nobody writes to is not written to either.
func KeepHistory(ctx context.Context, store Store, keep time.Duration, log *slog.Logger) error {
	const steps = 10
	ticker := time.NewTicker(keep / steps)
	defer ticker.Stop()
	var seen []int64 // the revisions at the last ticks, oldest first
	var compacted int64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		limited, cancel := context.WithTimeout(ctx, keep/steps)
		revision, err := store.Revision(limited)
		if err == nil {
			seen = append(seen, revision)
			if len(seen) > steps {
				if seen[0] > compacted {
					if err = store.Compact(limited, seen[0]); err == nil {
						compacted = seen[0]
					}
				}
				seen = append(seen[:0], seen[1:]...)
			}
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			log.Error("compact the store", "err", err)
		}
	}
}
