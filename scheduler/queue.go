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
	items map[types.UID]*item
	ready readyHeap
}

type item struct {
	pod      *corev1.Pod
	attempts int
	at       time.Time // since when it waits; for the order
	until    time.Time // not before; zero: now
	parked   bool      // unschedulable: an event may end the wait
	index    int       // in the heap; -1: not in it
}

func newQueue() *queue { return &queue{items: map[types.UID]*item{}} }

// add puts in a pod, or replaces the one of the same UID, keeping its place.
func (q *queue) add(pod *corev1.Pod, now time.Time) {
	if it, ok := q.items[pod.UID]; ok {
		changed := it.pod.Generation != pod.Generation
		it.pod = pod
		if changed && it.parked {
			q.release(it)
		} else if it.index >= 0 {
			heap.Fix(&q.ready, it.index)
		}
		return
	}
	it := &item{pod: pod, at: now, index: -1}
	q.items[pod.UID] = it
	heap.Push(&q.ready, it)
}

func (q *queue) remove(uid types.UID) {
	it, ok := q.items[uid]
	if !ok {
		return
	}
	delete(q.items, uid)
	if it.index >= 0 {
		heap.Remove(&q.ready, it.index)
	}
}

// pop takes out the next pod to try, or nil.
func (q *queue) pop() *item {
	if len(q.ready) == 0 {
		return nil
	}
	it := heap.Pop(&q.ready).(*item)
	delete(q.items, it.pod.UID)
	return it
}

// park puts an item back that could not be placed.
func (q *queue) park(it *item, now time.Time) {
	it.attempts++
	it.parked = true
	it.until = now.Add(parkedFor)
	it.index = -1
	q.items[it.pod.UID] = it
}

// retry puts an item back whose placing failed for another reason: it is tried again after its back-off.
func (q *queue) retry(it *item, now time.Time) {
	it.attempts++
	it.parked = false
	it.until = now.Add(backoff(it.attempts))
	it.index = -1
	q.items[it.pod.UID] = it
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
	for _, it := range q.items {
		if it.parked {
			q.release(it)
		}
	}
}

func (q *queue) release(it *item) {
	it.parked = false
	it.until = time.Time{}
	heap.Push(&q.ready, it)
}

// due makes ready what has waited long enough, and returns when the next one will have (zero: none waits).
func (q *queue) due(now time.Time) (next time.Time) {
	for _, it := range q.items {
		if it.index >= 0 {
			continue
		}
		if !it.until.After(now) {
			q.release(it)
		} else if next.IsZero() || it.until.Before(next) {
			next = it.until
		}
	}
	return next
}

// readyHeap orders by priority, then by waiting time, then by name.
type readyHeap []*item

func (h readyHeap) Len() int { return len(h) }

func (h readyHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if pa, pb := priority(a.pod), priority(b.pod); pa != pb {
		return pa > pb
	}
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.pod.Name < b.pod.Name
}

func (h readyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *readyHeap) Push(x any) {
	it := x.(*item)
	it.index = len(*h)
	*h = append(*h, it)
}

// Pop implements heap.Interface.
func (h *readyHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	it.index = -1
	*h = old[:len(old)-1]
	return it
}

func priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}
