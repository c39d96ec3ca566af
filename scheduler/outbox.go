package scheduler

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// writesInFlight is how many writes are under way at once: enough for the store to commit them in groups.
const writesInFlight = 64

// write is one request to the API.
type write func(ctx context.Context)

// outbox carries out writes in the background, bindings before everything else; nobody waits for it. Its workers come with the work and go
// with it.
type outbox struct {
	mu       sync.Mutex
	bindings []write
	remarks  map[types.UID]write // about pods that wait, the latest of each
	order    []types.UID         // of the remarks
	workers  int
	wg       sync.WaitGroup
}

func newOutbox() *outbox { return &outbox{remarks: map[types.UID]write{}} }

// bind hands over a binding.
func (o *outbox) bind(ctx context.Context, w write) {
	o.mu.Lock()
	o.bindings = append(o.bindings, w)
	o.mu.Unlock()
	o.work(ctx)
}

// remark hands over something to say about a pod. It takes the place of what was not said yet.
func (o *outbox) remark(ctx context.Context, uid types.UID, w write) {
	o.mu.Lock()
	if o.remarks[uid] == nil {
		o.order = append(o.order, uid)
	}
	o.remarks[uid] = w
	o.mu.Unlock()
	o.work(ctx)
}

// work starts a worker more, if there are not enough.
func (o *outbox) work(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.workers == writesInFlight {
		return
	}
	o.workers++
	o.wg.Go(func() {
		for w := o.next(ctx); w != nil; w = o.next(ctx) {
			w(ctx)
		}
	})
}

// next returns the next write, or nil: then the worker goes.
func (o *outbox) next(ctx context.Context) (w write) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case len(o.bindings) > 0:
		w = o.bindings[0]
		o.bindings[0], o.bindings = nil, o.bindings[1:]
	case len(o.order) > 0:
		w = o.remarks[o.order[0]]
		delete(o.remarks, o.order[0])
		o.order = o.order[1:]
	}
	if w == nil {
		o.workers--
	}
	return w
}

// wait returns when all workers have gone; the context of the writes must have ended.
func (o *outbox) wait() { o.wg.Wait() }
