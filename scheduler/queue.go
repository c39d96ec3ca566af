package scheduler

import (
	"container/heap"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Back-off of a pod that could not be placed, as upstream: 1 s, doubling, at most 10 s.
const (
	firstBackoff = time.Second
	maxBackoff   = 10 * time.Second
	// parkedFor is when an unschedulable pod is tried again even if nothing happened that could help it.
	parkedFor = 5 * time.Minute
)

// queue holds the pods that wait. Ready ones are tried by priority, then by age; the others wait for their time, or for
// something to happen that could make them fit. It is not safe for concurrent use.
type queue struct {
	items   map[types.UID]*item
	parked  map[*item]bool // unschedulable: an event may end the wait
	ready   itemHeap
	waiting itemHeap
}

type item struct {
	pod      *corev1.Pod
	attempts int
	at       time.Time // since when it waits; for the order
	until    time.Time // not before; for the order among waiting ones
	in       *itemHeap // which heap it is in; nil: none
	index    int       // in that heap
}

func newQueue() *queue {
	return &queue{items: map[types.UID]*item{}, parked: map[*item]bool{}, ready: itemHeap{less: urgent}, waiting: itemHeap{less: sooner}}
}

// add puts in a pod, or replaces the one of the same UID, keeping its place.
func (q *queue) add(pod *corev1.Pod, now time.Time) {
	it, ok := q.items[pod.UID]
	if !ok {
		it = &item{pod: pod, at: now}
		q.items[pod.UID] = it
		q.put(it, &q.ready)
		return
	}
	changed := it.pod.Generation != pod.Generation
	it.pod = pod
	if changed && q.parked[it] {
		q.release(it)
	} else {
		heap.Fix(it.in, it.index)
	}
}

func (q *queue) put(it *item, into *itemHeap) {
	it.in = into
	heap.Push(into, it)
}

func (q *queue) remove(uid types.UID) {
	it, ok := q.items[uid]
	if !ok {
		return
	}
	delete(q.items, uid)
	delete(q.parked, it)
	heap.Remove(it.in, it.index)
}

// pop takes out the next pod to try, or nil.
func (q *queue) pop() *item {
	if q.ready.Len() == 0 {
		return nil
	}
	it := heap.Pop(&q.ready).(*item)
	delete(q.items, it.pod.UID)
	return it
}

// park puts an item back that could not be placed.
func (q *queue) park(it *item, now time.Time) {
	q.hold(it, now.Add(parkedFor))
	q.parked[it] = true
}

// retry puts an item back whose placing failed for another reason: it is tried again after its back-off.
func (q *queue) retry(it *item, now time.Time) { q.hold(it, now.Add(backoff(it.attempts+1))) }

func (q *queue) hold(it *item, until time.Time) {
	it.attempts++
	it.until = until
	q.items[it.pod.UID] = it
	q.put(it, &q.waiting)
}

func backoff(attempts int) time.Duration {
	d := firstBackoff
	for i := 1; i < attempts && d < maxBackoff; i++ {
		d *= 2
	}
	return min(d, maxBackoff)
}

// wake makes parked pods ready: something happened that may help them.
func (q *queue) wake() {
	for it := range q.parked {
		q.release(it)
	}
}

// release moves a waiting item to the ready ones.
func (q *queue) release(it *item) {
	delete(q.parked, it)
	heap.Remove(&q.waiting, it.index)
	q.put(it, &q.ready)
}

// due makes ready what has waited long enough, and returns when the next one will have (zero: none waits).
func (q *queue) due(now time.Time) (next time.Time) {
	for q.waiting.Len() > 0 {
		it := q.waiting.items[0]
		if it.until.After(now) {
			return it.until
		}
		q.release(it)
	}
	return time.Time{}
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

// sooner orders by the end of the wait.
func sooner(a, b *item) bool { return a.until.Before(b.until) }

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
