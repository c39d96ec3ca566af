package cache_test

import (
	"context"
	"sync"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// held is a store whose watch can be held back, or made to end with an error.
type held struct {
	storage.Store
	mu    sync.Mutex
	gate  chan struct{} // nil: open
	fault chan error
	inner storage.Store // takes the place of Store for the cache's reads; nil: none
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

// swap puts another store underneath; the watch must not be running then, or end soon.
func (h *held) swap(s storage.Store) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inner = s
}

func (h *held) current() storage.Store {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.inner != nil {
		return h.inner
	}
	return h.Store
}

func (h *held) Range(ctx context.Context, prefix, from string, limit, revision int64) (storage.Page, error) {
	return h.current().Range(ctx, prefix, from, limit, revision)
}

func (h *held) Watch(ctx context.Context, prefix string, from int64) <-chan storage.Batch {
	ctx, cancel := context.WithCancel(ctx)
	in, out := h.current().Watch(ctx, prefix, from), make(chan storage.Batch)
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

// racing is a store in which something happens right after the last page of a range was read.
type racing struct {
	storage.Store
	prefix string
	once   sync.Once
	after  func()
}

func (r *racing) Range(ctx context.Context, prefix, from string, limit, revision int64) (storage.Page, error) {
	page, err := r.Store.Range(ctx, prefix, from, limit, revision)
	if prefix == r.prefix && !page.More {
		r.once.Do(r.after)
	}
	return page, err
}

// failing is a store whose first ranges fail.
type failing struct {
	storage.Store
	left int
}

func (f *failing) Range(ctx context.Context, prefix, from string, limit, revision int64) (storage.Page, error) {
	if f.left > 0 {
		f.left--
		return storage.Page{}, errkind.New(errkind.Unavailable, "out of order")
	}
	return f.Store.Range(ctx, prefix, from, limit, revision)
}
