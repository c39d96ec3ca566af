package cache_test

import (
	"context"
	"sync"

	"github.com/cuppa-project/cuppa/apiserver/storage"
)

// held is a store whose watch can be held back, or made to end with an error.
type held struct {
	storage.Store
	mu    sync.Mutex
	gate  chan struct{} // nil: open
	fault chan error
}

func (h *held) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gate = make(chan struct{})
}

func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.gate)
	h.gate = nil
}

func (h *held) Watch(ctx context.Context, prefix string, from int64) <-chan storage.Batch {
	ctx, cancel := context.WithCancel(ctx)
	in, out := h.Store.Watch(ctx, prefix, from), make(chan storage.Batch)
	go func() {
		defer close(out)
		defer cancel()
		for {
			select {
			case err := <-h.fault:
				select {
				case out <- storage.Batch{Err: err}:
				case <-ctx.Done():
				}
				return
			case batch, ok := <-in:
				if !ok {
					return
				}
				h.mu.Lock()
				gate := h.gate
				h.mu.Unlock()
				if gate != nil {
					select {
					case <-gate:
					case <-ctx.Done():
						return
					}
				}
				select {
				case out <- batch:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

// remote is a store that must be asked for its revision, and counts how often it is.
type remote struct {
	storage.Store
	mu     sync.Mutex
	asked  int
	answer chan struct{} // nil: at once; otherwise each answer takes one
}

func (r *remote) Revision(ctx context.Context) (int64, error) {
	r.mu.Lock()
	r.asked++
	r.mu.Unlock()
	revision, err := r.Store.Revision(ctx)
	if r.answer != nil {
		select {
		case <-r.answer:
		case <-ctx.Done():
		}
	}
	return revision, err
}
