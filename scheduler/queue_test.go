package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func important(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Priority = ptr.To(n) }
}

func TestQueueOrder(t *testing.T) {
	q := newQueue()
	q.add(pod("old"), start)
	q.add(pod("young"), start.Add(time.Second))
	q.add(pod("important", important(10)), start.Add(time.Minute))
	for _, want := range []string{"important", "old", "young"} {
		if got := q.pop(); got == nil || got.pod.Name != want {
			t.Fatalf("got %v, want %s", got, want)
		}
	}
	if q.pop() != nil {
		t.Error("an empty queue gave a pod")
	}
}

func TestQueueWaits(t *testing.T) {
	q := newQueue()
	q.add(pod("a"), start)
	q.park(q.pop(), start)
	if next := q.due(start); !next.Equal(start.Add(parkedFor)) || q.pop() != nil {
		t.Errorf("a parked pod: due at %s", next)
	}
	q.wake()
	it := q.pop()
	if it == nil {
		t.Fatal("a woken pod is not ready")
	}
	q.retry(it, start)
	q.wake() // only parked pods are woken
	if q.pop() != nil {
		t.Error("a pod in back-off was woken")
	}
	want := start.Add(2 * time.Second) // the second attempt
	if next := q.due(start); !next.Equal(want) {
		t.Errorf("back-off of the second attempt ends at %s, want %s", next, want)
	}
	if q.due(want); q.pop() == nil {
		t.Error("a pod whose back-off is over is not ready")
	}
	q.add(pod("b"), start)
	q.park(q.pop(), start)
	changed := pod("b")
	changed.Generation = 7
	if q.add(changed, start); q.pop() == nil {
		t.Error("a parked pod that was changed is not ready")
	}
}

// TestQueueKeepsEveryPod does random things and holds that each pod is in the queue exactly as often as it should be.
func TestQueueKeepsEveryPod(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	q := newQueue()
	now, present := start, map[string]bool{}
	for range 20000 {
		name := fmt.Sprint("p", r.IntN(50))
		now = now.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
		switch r.IntN(6) {
		case 0, 1:
			q.add(pod(name, important(int32(r.IntN(3)))), now)
			present[name] = true
		case 2:
			q.remove(pod(name).UID)
			delete(present, name)
		case 3:
			q.wake()
		case 4:
			q.due(now)
		default:
			it := q.pop()
			if it == nil {
				break
			}
			switch r.IntN(3) {
			case 0:
				q.park(it, now)
			case 1:
				q.retry(it, now)
			default:
				delete(present, it.pod.Name)
			}
		}
		if got := q.ready.Len() + q.waiting.Len(); got != len(present) || len(q.items) != len(present) || len(q.parked) > q.waiting.Len() {
			t.Fatalf("%d in heaps, %d known, %d parked; want %d", got, len(q.items), len(q.parked), len(present))
		}
	}
}
