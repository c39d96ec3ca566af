package apiserver_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
)

// bystanders are clients of a kind that stays: writers and readers, who pause between their requests, and a watch. They go on until stop is called.
type bystanders struct {
	mu    sync.Mutex
	took  []time.Duration
	fault atomic.Pointer[error]
	seen  atomic.Int64 // events
	wrote atomic.Int64
	done  sync.WaitGroup
	end   context.CancelFunc
}

func startBystanders(t testing.TB, s *apiservertest.Server, workers int, pause time.Duration) *bystanders {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b := &bystanders{end: cancel}
	w, err := client(t, s.Config).CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.done.Go(func() {
		for e := range w.ResultChan() {
			if e.Type == watch.Error && ctx.Err() == nil {
				b.failed(apierrors.FromObject(e.Object))
			}
			b.seen.Add(1)
		}
		if ctx.Err() == nil {
			b.failed(fmt.Errorf("the watch ended"))
		}
	})
	for i := range workers {
		c := client(t, s.Config).CoreV1().ConfigMaps("default")
		b.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				time.Sleep(pause)
				b.once(ctx, func() error {
					_, err := c.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("by-%d-%d", i, n)}}, metav1.CreateOptions{})
					if err == nil {
						b.wrote.Add(1)
					}
					return err
				})
				b.once(ctx, func() error { _, err := c.Get(ctx, fmt.Sprintf("by-%d-%d", i, n), metav1.GetOptions{}); return err })
			}
		})
	}
	return b
}

func (b *bystanders) once(ctx context.Context, do func() error) {
	began := time.Now()
	err := do()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		b.failed(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.took = append(b.took, time.Since(began))
}

func (b *bystanders) failed(err error) { b.fault.CompareAndSwap(nil, &err) }

// p99 is how long 99 of 100 requests took at the most since the last call.
func (b *bystanders) p99() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.Sort(b.took)
	out := b.took[len(b.took)*99/100]
	b.took = nil
	return out
}

func (b *bystanders) stop(t testing.TB) {
	t.Helper()
	b.end()
	b.done.Wait()
	if err := b.fault.Load(); err != nil {
		t.Errorf("a client of another kind saw %v", *err)
	}
}

// comeAndGo serves a kind, has a client of it make, watch and read an object, takes it away, and holds what the client sees.
func comeAndGo(t testing.TB, s *apiservertest.Server, n int) {
	t.Helper()
	serve(t, s, cupKind(t))
	c := dynamicClient(t, s.Config).Namespace("default")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	name := fmt.Sprint("cup-", n)
	made, err := c.Create(ctx, cup(name, 2), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("round %d: create of a kind that is served: %v", n, err)
	}
	w, err := c.Watch(ctx, metav1.ListOptions{ResourceVersion: made.GetResourceVersion()})
	if err != nil {
		t.Fatalf("round %d: watch: %v", n, err)
	}
	if list, err := c.List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != n+1 {
		t.Fatalf("round %d: list: %v, %d objects, want those of all rounds", n, err, len(list.Items))
	}
	withdraw(t, s, cups)
	for e := range w.ResultChan() {
		t.Errorf("round %d: the watch ended with %v, want a plain end", n, e)
	}
	if ctx.Err() != nil {
		t.Fatalf("round %d: the watch of a kind that went goes on", n)
	}
	if _, err := c.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("round %d: get of what has gone: %v", n, err)
	}
}

// TestKindsComeAndGoUnderLoad: clients of a kind that comes and goes see just that, and nobody else notices anything.
func TestKindsComeAndGoUnderLoad(t *testing.T) {
	s := apiservertest.New(t)
	others := startBystanders(t, s, 8, 0)
	for n := range 20 {
		comeAndGo(t, s, n)
	}
	others.stop(t)
	if wrote := others.wrote.Load(); wrote < 20 {
		t.Errorf("the others wrote %d objects: there was no load", wrote)
	}
}

// BenchmarkKindsComeAndGo tells how much longer the slowest of a hundred requests for another kind takes while a kind comes and goes ten times a second:
// the same load, which leaves the processors some rest, without and with that, in turn.
func BenchmarkKindsComeAndGo(b *testing.B) {
	s := apiservertest.New(b)
	others := startBystanders(b, s, 8, 10*time.Millisecond)
	time.Sleep(time.Second) // warm
	others.p99()
	var without, with []time.Duration
	n := 0
	for b.Loop() {
		time.Sleep(time.Second)
		without = append(without, others.p99())
		for range 10 {
			next := time.Now().Add(100 * time.Millisecond)
			comeAndGo(b, s, n)
			n++
			time.Sleep(time.Until(next))
		}
		with = append(with, others.p99())
	}
	others.stop(b)
	slices.Sort(without)
	slices.Sort(with)
	before, during := without[len(without)/2], with[len(with)/2]
	b.ReportMetric(float64(before.Microseconds()), "p99-before-us")
	b.ReportMetric(float64(during.Microseconds()), "p99-during-us")
	b.ReportMetric(float64(during)/float64(before), "ratio")
	b.ReportMetric(0, "ns/op")
}
