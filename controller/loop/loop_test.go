package loop_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/kube"
)

// start runs a loop until the test's bubble ends it, and returns how to enqueue.
func start(t *testing.T, config loop.Config) func(loop.Key) {
	t.Helper()
	enqueue := func(loop.Key) {}
	config.Name = "test"
	config.Deps.Logger = slog.New(slog.DiscardHandler)
	config.Watch = func(_ context.Context, add func(loop.Key)) error {
		enqueue = add
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- loop.Run(config)(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	synctest.Wait()
	return enqueue
}

func TestOneKeyIsNeverReconciledTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		busy, calls, most := map[loop.Key]bool{}, 0, 0
		enqueue := start(t, loop.Config{Workers: 8, Reconcile: func(_ context.Context, key loop.Key) (time.Duration, error) {
			mu.Lock()
			if busy[key] {
				t.Errorf("%s is reconciled twice at once", key)
			}
			busy[key] = true
			most = max(most, len(busy))
			calls++
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			delete(busy, key)
			mu.Unlock()
			return 0, nil
		}})
		for range 5 { // noted while a call runs: each key once more after it
			for i := range 4 {
				enqueue(loop.Key{Name: fmt.Sprint(i)})
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls != 8 || most != 4 {
			t.Errorf("%d calls, %d at a time; want 8 (what comes during a call is gathered) and 4", calls, most)
		}
	})
}

func TestFailuresAreTriedAgainMoreAndMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		enqueue := start(t, loop.Config{Workers: 1, MinWait: time.Second, MaxWait: 5 * time.Second, Reconcile: func(context.Context, loop.Key) (time.Duration, error) {
			if at = append(at, time.Now()); len(at) < 6 {
				return 0, errors.New("not yet")
			}
			return 0, nil
		}})
		enqueue(loop.Key{Name: "a"})
		time.Sleep(time.Hour)
		synctest.Wait()
		var waits []string
		for i := 1; i < len(at); i++ {
			waits = append(waits, at[i].Sub(at[i-1]).Round(time.Millisecond).String())
		}
		if got, want := strings.Join(waits, " "), "1s 2s 4s 5s 5s"; got != want {
			t.Errorf("waits: got %s, want %s and an end after the success", got, want)
		}
	})
}

func TestAgainAsksForAnotherCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		enqueue := start(t, loop.Config{Reconcile: func(context.Context, loop.Key) (time.Duration, error) {
			if calls.Add(1) == 1 {
				return time.Minute, nil
			}
			return 0, nil
		}})
		enqueue(loop.Key{Name: "a"})
		time.Sleep(59 * time.Second)
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls before the time, want 1", n)
		}
		time.Sleep(2 * time.Second)
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls after it, want 2", n)
		}
	})
}

func TestFailedWatchEndsTheLoop(t *testing.T) {
	broken := errors.New("no such resource")
	err := loop.Run(loop.Config{Watch: func(context.Context, func(loop.Key)) error { return broken }})(t.Context())
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func TestForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most, done atomic.Int32
		err := loop.ForEach(t.Context(), make([]int, 100), func(context.Context, int) error {
			n := running.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			running.Add(-1)
			if done.Add(1)%50 == 0 {
				return errors.New("one of two")
			}
			return nil
		})
		if most.Load() != 32 || done.Load() != 100 || strings.Count(fmt.Sprint(err), "one of two") != 2 {
			t.Errorf("%d at a time, %d done, error %v; want 32, all, and both errors", most.Load(), done.Load(), err)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		metrics, err := loop.NewMetrics(registry)
		if err != nil {
			t.Fatal(err)
		}
		first := true
		enqueue := start(t, loop.Config{Deps: loop.Deps{Metrics: metrics}, Reconcile: func(context.Context, loop.Key) (time.Duration, error) {
			if first {
				first = false
				return 0, errors.New("once")
			}
			return 0, nil
		}})
		enqueue(loop.Key{Name: "a"})
		time.Sleep(time.Minute)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range families {
			m := f.GetMetric()[0]
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			got = append(got, fmt.Sprintf("%s{%s}=%v", f.GetName(), m.GetLabel()[0].GetValue(), value))
		}
		want := "workqueue_adds_total{test}=1 workqueue_depth{test}=0 workqueue_retries_total{test}=1 workqueue_work_duration_seconds{test}=2"
		if strings.Join(got, " ") != want {
			t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
		}
		if _, err := loop.NewMetrics(registry); err == nil {
			t.Error("the same figures were registered twice")
		}
	})
}

func TestKeys(t *testing.T) {
	for want, key := range map[string]loop.Key{
		"a":                     {Name: "a"},
		"ns/a":                  {Namespace: "ns", Name: "a"},
		"replicasets.apps ns/a": {Namespace: "ns", Name: "a", Resource: kube.ReplicaSets},
	} {
		if got := key.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
