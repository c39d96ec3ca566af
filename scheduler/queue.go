package scheduler

import (
	"container/heap"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Back-off of a pod that could not be placed, as upstream: 1 s, doubling, at most 10 s, from the last attempt on.
const (
	firstBackoff = time.Second
	maxBackoff   = 10 * time.Second
)

// queue holds the pods that wait. Ready ones are tried by priority, then by age. Pods that no node takes stand in line behind others of their
// class; of each class one at a time is let out when something happened that helps it. Pods whose binding failed wait for their
// time. It is not safe for concurrent use.
type queue struct {
	items map[types.UID]*item
	ready itemHeap
	// released pods were let out of their line, but their back-off is not over. They are tried when it is, or when there is nothing
	// else to do.
	released itemHeap
	failed   itemHeap // their binding failed: nothing makes their back-off shorter
	lines    map[*Class]*line
}

// line is the pods of one class that no node takes.
type line struct {
	pods   itemHeap // the most urgent first
	trying bool     // one was let out and is not decided yet
	told   string   // the outline of what was last said of those that stand here
	by     ruleSet  // who refused them
}

type item struct {
	pod      *corev1.Pod
	class    *Class
	attempts int
	at       time.Time // since when it waits; for the order
	until    time.Time // the end of its back-off
	in       *itemHeap // which heap it is in; nil: none
	index    int       // in that heap
	letOut   bool      // of its line, and not decided since
}

func newQueue() *queue {
	return &queue{items: map[types.UID]*item{}, lines: map[*Class]*line{},
		ready: itemHeap{less: urgent}, released: itemHeap{less: sooner}, failed: itemHeap{less: sooner}}
}

func (q *queue) put(it *item, into *itemHeap) {
	q.items[it.pod.UID] = it
	it.in = into
	heap.Push(into, it)
}

// take removes an item from wherever it is.
func (q *queue) take(it *item) {
	heap.Remove(it.in, it.index)
	it.in = nil
	delete(q.items, it.pod.UID)
	if l := q.lines[it.class]; l != nil && it.letOut {
		l.trying = false
	}
	it.letOut = false
}

// pop takes out the next pod to try, or nil. When nothing is ready, one in back-off that an event helped need not wait.
func (q *queue) pop() *item {
	from := &q.ready
	if from.Len() == 0 {
		from = &q.released
	}
	if from.Len() == 0 {
		return nil
	}
	it := from.items[0]
	q.take(it)
	return it
}

// park puts an item into its class's line, after a decision that no node takes it.
func (q *queue) park(it *item, d Decision, now time.Time) {
	it.attempts++
	it.until = now.Add(backoff(it.attempts))
	l := q.lines[it.class]
	if l == nil {
		l = &line{pods: itemHeap{less: urgent}}
		q.lines[it.class] = l
	}
	l.told, l.by = d.outline(), d.by
	q.put(it, &l.pods)
}

// release lets the first pod of a class's line out, unless one is out already.
func (q *queue) release(class *Class, now time.Time) {
	l := q.lines[class]
	if l == nil || l.trying || l.pods.Len() == 0 {
		return
	}
	it := l.pods.items[0]
	q.take(it)
	l.trying, it.letOut = true, true
	if it.until.After(now) {
		q.put(it, &q.released)
	} else {
		q.put(it, &q.ready)
	}
}

// retry puts an item back whose binding failed: it is tried again after its back-off.
func (q *queue) retry(it *item, now time.Time) {
	it.attempts++
	it.until = now.Add(backoff(it.attempts))
	q.put(it, &q.failed)
}

// tidy forgets the line of a class in which nobody stands, and of which nobody is out.
func (q *queue) tidy(class *Class) {
	if l := q.lines[class]; l != nil && l.pods.Len() == 0 && !l.trying {
		delete(q.lines, class)
	}
}

func backoff(attempts int) time.Duration {
	d := firstBackoff
	for i := 1; i < attempts && d < maxBackoff; i++ {
		d *= 2
	}
	return min(d, maxBackoff)
}

// due makes ready what has waited long enough, and returns when the next one will have (zero: none waits).
func (q *queue) due(now time.Time) (next time.Time) {
	for _, from := range []*itemHeap{&q.released, &q.failed} {
		for from.Len() > 0 {
			it := from.items[0]
			if it.until.After(now) {
				if next.IsZero() || it.until.Before(next) {
					next = it.until
				}
				break
			}
			heap.Remove(from, it.index)
			it.in = &q.ready
			heap.Push(it.in, it)
		}
	}
	return next
}

// itemHeap is a heap of items whose members know their place.
type itemHeap struct {
	items []*item
	less  func(a, b *item) bool
}

// urgent orders by priority, then by waiting time, then by name.
func urgent(a, b *item) bool {
	if pa, pb := priority(a.pod), priority(b.pod); pa != pb {
		return pa > pb
	}
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.pod.Name < b.pod.Name
}

// sooner orders by the end of the back-off.
func sooner(a, b *item) bool {
	if !a.until.Equal(b.until) {
		return a.until.Before(b.until)
	}
	return urgent(a, b)
}

func (h *itemHeap) Len() int           { return len(h.items) }
func (h *itemHeap) Less(i, j int) bool { return h.less(h.items[i], h.items[j]) }

func (h *itemHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].index, h.items[j].index = i, j
}

// Push implements heap.Interface.
func (h *itemHeap) Push(x any) {
	it := x.(*item)
	it.index = len(h.items)
	h.items = append(h.items, it)
}

// Pop implements heap.Interface.
func (h *itemHeap) Pop() any {
	last := len(h.items) - 1
	it := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	return it
}

func priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}
