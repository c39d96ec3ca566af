package storagetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cuppa-project/cuppa/apiserver/storage"
)

// Op is a call of a store.
type Op string

// The calls. Write stands for each of the three that write.
const (
	Get      Op = "get"
	Range    Op = "range"
	Create   Op = "create"
	Update   Op = "update"
	Delete   Op = "delete"
	Write    Op = "write"
	Watch    Op = "watch"
	Progress Op = "progress"
	Revision Op = "revision"
	Compact  Op = "compact"
)

// Fault is something that goes wrong with some calls. The zero value of a field means no condition.
type Fault struct {
	Op     Op
	Prefix string // of the key
	Skip   int    // so many fitting calls go well first
	Times  int    // so many then go wrong; 0: all
	// Err is what the caller gets; nil: what the store answers, so that a fault may only delay.
	Err error
	// Done lets the store carry the call out before Err is returned: the answer is lost on its way.
	Done bool
	// Until holds the call back until it is closed, or the call's context ends.
	Until <-chan struct{}
	// Held, if set, gets a value when a call begins to be held back.
	Held chan<- struct{}
}

func (f Fault) fits(op Op, key string) bool {
	write := op == Create || op == Update || op == Delete
	return (f.Op == "" || f.Op == op || f.Op == Write && write) && strings.HasPrefix(key, f.Prefix)
}

// Faulty is a store that goes wrong as it is told, and otherwise is the store behind it. It prints as the calls that it got.
type Faulty struct {
	storage.Store

	mu      sync.Mutex
	faults  []*Fault
	calls   []string
	watches map[*cut]struct{}
	held    chan struct{} // closed when watches may deliver; nil: they may
}

// cut is how a running watch is told to end.
type cut struct{ err chan error }

var _ storage.Instant = (*Faulty)(nil)

// NewFaulty puts faults, of which there are none yet, before a store.
func NewFaulty(store storage.Store) *Faulty {
	return &Faulty{Store: store, watches: map[*cut]struct{}{}}
}

// Inject adds a fault and returns how to end it. Faults are tried in the order in which they were added; the first that fits counts.
func (f *Faulty) Inject(fault Fault) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := &fault
	f.faults = append(f.faults, own)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.faults = slices.DeleteFunc(f.faults, func(other *Fault) bool { return other == own })
	}
}

// DropWatches ends all running watches with an error, as a store does that has forgotten their revision or lost its connection.
func (f *Faulty) DropWatches(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watches {
		w.err <- err
		delete(f.watches, w)
	}
}

// HoldWatches lets no watch deliver anything until the function that it returns is called.
func (f *Faulty) HoldWatches() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gate := make(chan struct{})
	f.held = gate
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		close(gate)
		if f.held == gate {
			f.held = nil
		}
	}
}

// String lists the calls that were made, with what became of each.
func (f *Faulty) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, "\n")
}

// take finds the fault for a call and notes the call.
func (f *Faulty) take(op Op, key string) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	line := fmt.Sprintf("%s %s", op, key)
	defer func() { f.calls = append(f.calls, line) }()
	for _, fault := range f.faults {
		if !fault.fits(op, key) {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			return nil
		}
		switch fault.Times {
		case 1:
			f.faults = slices.DeleteFunc(f.faults, func(other *Fault) bool { return other == fault })
		case 0:
		default:
			fault.Times--
		}
		if fault.Err != nil {
			line += ": " + fault.Err.Error()
		}
		return fault
	}
	return nil
}

// through makes a call, with the fault that fits it.
func through[T any](ctx context.Context, f *Faulty, op Op, key string, call func() (T, error)) (T, error) {
	fault := f.take(op, key)
	if fault == nil {
		return call()
	}
	var none T
	if fault.Until != nil {
		if fault.Held != nil {
			fault.Held <- struct{}{}
		}
		select {
		case <-fault.Until:
		case <-ctx.Done():
			return call() // the store says what an ended context is
		}
	}
	if fault.Err == nil {
		return call()
	}
	if fault.Done {
		if answer, err := call(); err != nil {
			return answer, err
		}
	}
	return none, fault.Err
}

// Get implements storage.Store.
func (f *Faulty) Get(ctx context.Context, key string) (storage.KV, int64, error) {
	type answer struct {
		kv       storage.KV
		revision int64
	}
	a, err := through(ctx, f, Get, key, func() (answer, error) {
		kv, revision, err := f.Store.Get(ctx, key)
		return answer{kv, revision}, err
	})
	return a.kv, a.revision, err
}

// Range implements storage.Store.
func (f *Faulty) Range(ctx context.Context, prefix, from string, limit, revision int64) (storage.Page, error) {
	return through(ctx, f, Range, prefix, func() (storage.Page, error) { return f.Store.Range(ctx, prefix, from, limit, revision) })
}

// Create implements storage.Store.
func (f *Faulty) Create(ctx context.Context, key string, value []byte) (int64, error) {
	return through(ctx, f, Create, key, func() (int64, error) { return f.Store.Create(ctx, key, value) })
}

// Update implements storage.Store.
func (f *Faulty) Update(ctx context.Context, key string, value []byte, expect int64) (int64, error) {
	return through(ctx, f, Update, key, func() (int64, error) { return f.Store.Update(ctx, key, value, expect) })
}

// Delete implements storage.Store.
func (f *Faulty) Delete(ctx context.Context, key string, expect int64) (int64, error) {
	return through(ctx, f, Delete, key, func() (int64, error) { return f.Store.Delete(ctx, key, expect) })
}

// Progress implements storage.Store.
func (f *Faulty) Progress(ctx context.Context) error {
	_, err := through(ctx, f, Progress, "", func() (struct{}, error) { return struct{}{}, f.Store.Progress(ctx) })
	return err
}

// Revision implements storage.Store.
func (f *Faulty) Revision(ctx context.Context) (int64, error) {
	return through(ctx, f, Revision, "", func() (int64, error) { return f.Store.Revision(ctx) })
}

// Compact implements storage.Store.
func (f *Faulty) Compact(ctx context.Context, revision int64) error {
	_, err := through(ctx, f, Compact, "", func() (struct{}, error) { return struct{}{}, f.Store.Compact(ctx, revision) })
	return err
}

// RevisionNow implements storage.Instant as far as the store behind does. A fault of Revision makes it know nothing.
func (f *Faulty) RevisionNow() (int64, bool) {
	f.mu.Lock()
	faulty := slices.ContainsFunc(f.faults, func(fault *Fault) bool { return fault.Op == Revision })
	f.mu.Unlock()
	if instant, ok := f.Store.(storage.Instant); ok && !faulty {
		return instant.RevisionNow()
	}
	return 0, false
}

// Watch implements storage.Store. A fault with an error makes the watch end with it at once.
func (f *Faulty) Watch(ctx context.Context, prefix string, from int64) <-chan storage.Batch {
	fault := f.take(Watch, prefix)
	w := &cut{err: make(chan error, 1)}
	if fault != nil && fault.Err != nil {
		w.err <- fault.Err
	} else {
		f.mu.Lock()
		f.watches[w] = struct{}{}
		f.mu.Unlock()
	}
	ctx, cancel := context.WithCancel(ctx)
	in, out := f.Store.Watch(ctx, prefix, from), make(chan storage.Batch)
	go func() {
		defer close(out)
		defer cancel()
		defer f.forget(w)
		f.pass(ctx, w, in, out)
	}()
	return out
}

func (f *Faulty) forget(w *cut) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watches, w)
}

// pass hands batches over until the watch ends, is cut off, or its context ends.
func (f *Faulty) pass(ctx context.Context, w *cut, in <-chan storage.Batch, out chan<- storage.Batch) {
	for {
		var batch storage.Batch
		select {
		case err := <-w.err:
			batch = storage.Batch{Err: err}
		case next, ok := <-in:
			if !ok {
				return
			}
			batch = next
			f.mu.Lock()
			gate := f.held
			f.mu.Unlock()
			if gate == nil {
				break
			}
			select {
			case <-gate:
			case err := <-w.err: // what was held back is lost with the watch
				batch = storage.Batch{Err: err}
			case <-ctx.Done():
				return
			}
		}
		select {
		case out <- batch:
		case <-ctx.Done():
			return
		}
		if batch.Err != nil {
			return
		}
	}
}
