package scheduler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func important(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Priority = ptr.To(n) }
}

func TestBackoff(t *testing.T) {
	var got []time.Duration
	for n := range 6 {
		got = append(got, backoff(n+1))
	}
	want := []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// world plays the API server to a core: it holds what exists, and tells the core of every change.
type world struct {
	t     *testing.T
	c     *core
	r     *rand.Rand
	now   time.Time
	naive naive
	pods  map[string]*corev1.Pod // that wait
	tries int                    // decisions without a node
}

func (w *world) tell(old, new *corev1.Pod) { w.c.pod(old, new, w.now) }

// settle lets the core do what it can at once.
func (w *world) settle() {
	for n := 0; ; n++ {
		if n > 10000 {
			w.t.Fatal("the core does not come to rest")
		}
		do, ok, _ := w.c.next(w.now)
		if !ok {
			return
		}
		if do.Node == "" {
			w.tries++
			continue
		}
		p := w.pods[do.pod.Name]
		if p == nil {
			w.t.Fatalf("%s: it does not wait", do)
		}
		if w.r.IntN(10) == 0 {
			w.c.failed(do.item, p, w.now)
			continue
		}
		delete(w.pods, p.Name)
		bound := p.DeepCopy()
		bound.Spec.NodeName = do.Node
		w.naive.on[do.Node] = append(w.naive.on[do.Node], bound)
		w.tell(p, bound)
	}
}

// TestNobodyIsForgotten does random things to a cluster with far more pods than room. When the core rests, nobody waits that would fit: but
// for those whose binding failed, which wait for their time. And however many wait, an event makes it try in vain only once for each kind
// of pod.
func TestNobodyIsForgotten(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	w := &world{t: t, c: newCore(corev1.DefaultSchedulerName), r: r, now: start, naive: naive{map[string]*corev1.Node{}, map[string][]*corev1.Pod{}}, pods: map[string]*corev1.Pod{}}
	kinds := []func(*corev1.Pod){asks("1", "1Gi"), asks("500m", "2Gi"), port(80, ""), selects("zone", "1"), toleratesKV, pinned("n3")}
	bound := 0
	for i := range 2500 {
		w.now = w.now.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
		tries, added := w.tries, 0
		switch r.IntN(5) {
		case 0:
			x := randomNode(r, fmt.Sprint("n", r.IntN(6)))
			w.c.node(w.naive.nodes[x.Name], x)
			w.naive.nodes[x.Name] = x
		case 1:
			if x := w.naive.nodes[fmt.Sprint("n", r.IntN(6))]; x != nil && r.IntN(4) == 0 {
				w.c.node(x, nil)
				delete(w.naive.nodes, x.Name)
			}
		case 2:
			name := fmt.Sprint("n", r.IntN(6))
			if pods := w.naive.on[name]; len(pods) > 0 {
				w.naive.on[name] = pods[1:]
				w.tell(pods[0], nil)
				bound++
			}
		case 3:
			if p := w.pods[fmt.Sprint("p", r.IntN(i+1))]; p != nil {
				delete(w.pods, p.Name)
				w.tell(p, nil)
			}
		default:
			if len(w.pods) < 100 {
				p := pod(fmt.Sprint("p", i), kinds[r.IntN(len(kinds))], important(int32(r.IntN(3))))
				w.pods[p.Name] = p
				w.tell(nil, p)
				added++
			}
		}
		w.c.review = time.Time{} // what is said again to those that wait is not counted here
		w.settle()
		if n := w.tries - tries; n > len(kinds)+added {
			t.Fatalf("step %d: one event, and %d pods were tried in vain", i, n)
		}
		for name, p := range w.pods {
			it := w.c.queue.items[p.UID]
			if it == nil {
				t.Fatalf("step %d: %s is lost", i, name)
			}
			if len(w.naive.totals(p)) > 0 && it.in != &w.c.queue.failed {
				t.Fatalf("step %d: %s waits, though %v fit", i, name, w.naive.totals(p))
			}
		}
		if len(w.c.queue.items) != len(w.pods) {
			t.Fatalf("step %d: %d pods in the queue, %d wait", i, len(w.c.queue.items), len(w.pods))
		}
	}
	if bound < 100 {
		t.Errorf("only %d pods were placed and went: the test tries too little", bound)
	}
}

// TestNoHerd holds how little a thousand waiting pods cost when something happens.
func TestNoHerd(t *testing.T) {
	c := newCore(corev1.DefaultSchedulerName)
	c.node(nil, node("a", "1", "8Gi"))
	full := pod("full", asks("1", "1Gi"))
	full.Spec.NodeName = "a"
	c.pod(nil, full, start)
	for i := range 1000 {
		c.pod(nil, pod(fmt.Sprint("p", i), asks("1", "1Gi")), start)
	}
	tried := func(now time.Time) (bound, vain int) {
		for {
			do, ok, _ := c.next(now)
			switch {
			case !ok:
				return bound, vain
			case do.Node != "":
				bound++
			default:
				vain++
			}
		}
	}
	if bound, vain := tried(start); bound != 0 || vain != 1000 {
		t.Fatalf("at first: %d bound, %d tried in vain; want 0 and 1000", bound, vain)
	}
	other := pod("other")
	other.Spec.NodeName = "a"
	c.pod(nil, other, start)
	c.pod(other, nil, start)
	if bound, vain := tried(start); bound != 0 || vain != 0 {
		t.Errorf("after an event that helps nobody: %d bound, %d tried in vain; want none", bound, vain)
	}
	c.pod(full, nil, start)
	if bound, vain := tried(start.Add(20 * time.Second)); bound != 1 || vain != 0 {
		t.Errorf("after room for one: %d bound, %d tried in vain; want 1 and none", bound, vain)
	}
}
