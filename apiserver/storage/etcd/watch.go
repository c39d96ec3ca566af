package etcd

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

const watchRetry = 100 * time.Millisecond

// Watch implements storage.Store.
func (s *Store) Watch(ctx context.Context, prefix string, from int64) <-chan storage.Batch {
	out := make(chan storage.Batch, 1)
	if from == 0 {
		// With the revision known, a watch that has to start anew does so without a gap.
		revision, err := s.Revision(ctx)
		if err != nil {
			if ctx.Err() == nil {
				out <- storage.Batch{Err: err}
			}
			close(out)
			return out
		}
		from = revision + 1
	}
	go func() {
		defer close(out)
		s.watch(ctx, prefix, from, out)
	}()
	return out
}

// watch keeps an etcd watch going until ctx ends or the history it needs is gone. clientv3 buffers for a slow reader.
func (s *Store) watch(ctx context.Context, prefix string, next int64, out chan<- storage.Batch) {
	start, end := bounds(prefix)
	for {
		ended, cancel := context.WithCancel(ctx)
		changes := s.client.Watch(clientv3.WithRequireLeader(ended), start, clientv3.WithRange(end), clientv3.WithRev(next), clientv3.WithFragment())
		for resp := range changes {
			if resp.CompactRevision != 0 {
				send(ctx, out, storage.Batch{Revision: resp.CompactRevision, Err: errkind.New(errkind.Expired,
					"watch from revision %d: compacted at %d", next, resp.CompactRevision)})
				cancel()
				return
			}
			if resp.Err() != nil {
				break
			}
			batch, ok := toBatch(resp, next)
			if !ok {
				continue
			}
			next = batch.Revision + 1
			if !send(ctx, out, batch) {
				break
			}
		}
		cancel()
		if err := s.client.Ctx().Err(); err != nil && ctx.Err() == nil {
			send(ctx, out, storage.Batch{Err: errkind.New(errkind.Unavailable, "watch %q: the store was closed: %w", prefix, err)})
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchRetry):
		}
	}
}

func send(ctx context.Context, out chan<- storage.Batch, batch storage.Batch) bool {
	select {
	case out <- batch:
		return true
	case <-ctx.Done():
		return false
	}
}

// toBatch translates a response. The header's revision is the store's at the time of sending: events up to it may be in a later
// response, so only a progress notification may be believed to that revision.
func toBatch(resp clientv3.WatchResponse, next int64) (storage.Batch, bool) {
	if len(resp.Events) == 0 {
		return storage.Batch{Revision: resp.Header.Revision}, resp.IsProgressNotify() && resp.Header.Revision >= next
	}
	batch := storage.Batch{Events: make([]storage.Event, 0, len(resp.Events))}
	for _, e := range resp.Events {
		kv := storage.KV{Key: string(e.Kv.Key), ModRevision: e.Kv.ModRevision}
		event := storage.Event{Type: storage.Delete, KV: kv}
		if e.Type == clientv3.EventTypePut {
			kv.Value, kv.CreateRevision = e.Kv.Value, e.Kv.CreateRevision
			event = storage.Event{Type: storage.Put, KV: kv}
		}
		batch.Events = append(batch.Events, event)
		batch.Revision = kv.ModRevision
	}
	return batch, true
}
