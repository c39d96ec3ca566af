package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestFreshWaitsForTheWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &held{Store: memory.New()}
		w := start(t, store)
		store.hold()
		r := w.create("a/x", "1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.cache.Fresh(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errkind.Unavailable) {
			t.Errorf("fresh = %v while the watch hangs, want the context's error", err)
		}
		done := make(chan int64)
		go func() { done <- w.fresh() }()
		synctest.Wait()
		store.release()
		if got := <-done; got != r {
			t.Errorf("fresh = %d, want %d", got, r)
		}
		if _, ok := w.table().Get("a/x"); !ok {
			t.Error("a fresh read misses the write before it")
		}
		w.stop()
		_, err := w.cache.Fresh(t.Context())
		if err == nil {
			err = w.cache.WaitFor(t.Context(), r+100)
		}
		wantKind(t, err, errkind.Unavailable)
	})
}

func TestFreshSharesRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &remote{Store: memory.New(), answer: make(chan struct{})}
		w := start(t, store)
		var wg sync.WaitGroup
		ask := func() { wg.Go(func() { w.fresh() }) }
		ask() // on its way
		synctest.Wait()
		for range 20 { // must not share the answer to a question asked before them
			ask()
		}
		synctest.Wait()
		if store.asked != 1 {
			t.Errorf("%d questions under way, want 1", store.asked)
		}
		store.answer <- struct{}{}
		store.answer <- struct{}{}
		wg.Wait()
		if store.asked != 2 {
			t.Errorf("%d round trips for 21 callers, want 2", store.asked)
		}
		w.stop()
	})
}

func TestFreshIsNotStuckByKeysElsewhere(t *testing.T) {
	w := start(t, memory.New())
	r, err := w.store.Create(t.Context(), "/elsewhere", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if got := w.fresh(); got != r {
		t.Errorf("fresh = %d, want %d", got, r)
	}
	if s := w.table().Snapshot(); s.Revision() != r {
		t.Errorf("snapshot at %d, want %d", s.Revision(), r)
	}
}

func TestLoadIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := memory.New()
		store := &failing{Store: inner, left: 10}
		w := &world{t: t, store: inner}
		r := w.create("a/x", "1")
		began := time.Now()
		w = start(t, store)
		want(t, "state", []string{fmt.Sprintf("a/x=1@%d", r)}, show(w.table().Snapshot(), "", ""))
		if waited := time.Since(began); waited < 5*time.Second || waited > time.Minute {
			t.Errorf("ten failures took %v, want the pauses to grow, but not without end", waited)
		}
		w.stop()
	})
}

func TestWaitFor(t *testing.T) {
	w := start(t, memory.New())
	first := w.create("a/0", "1")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := w.cache.WaitFor(t.Context(), first+int64(i)); err != nil {
				t.Error(err)
			}
			if got := w.table().Snapshot().Revision(); got < first+int64(i) {
				t.Errorf("waited for %d, the snapshot is at %d", first+int64(i), got)
			}
		})
	}
	for i := range 20 {
		w.create(fmt.Sprintf("a/k%d", i), "1")
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := w.cache.WaitFor(ctx, first+1000)
	wantKind(t, err, errkind.Unavailable)
}

func TestReloadAfterTheHistoryIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &held{Store: memory.New(), fault: make(chan error)}
		w := start(t, store)
		r1 := w.create("a/x", "1")
		r2 := w.create("a/y", "1")
		w.fresh()
		watcher := w.watch(cache.WatchOptions{Since: r2})
		store.hold()
		w.remove("a/x", r1)
		r4 := w.update("a/y", r2, "2")
		synctest.Wait()
		store.release()
		store.fault <- errkind.New(errkind.Expired, "compacted")
		w.fresh()
		want(t, "after the reload", []string{fmt.Sprintf("a/y=2@%d", r4)}, show(w.table().Snapshot(), "", ""))
		for {
			if _, err := watcher.Next(t.Context()); err != nil {
				wantKind(t, err, errkind.Expired)
				break
			}
		}
		r5 := w.create("a/z", "1")
		w.fresh()
		want(t, "changes after it", []string{fmt.Sprintf("added a/z=1@%d was none", r5)},
			drain(t, w.watch(cache.WatchOptions{Since: r4}), 1))
		_, err := w.table().Watch(cache.WatchOptions{Since: r2})
		wantKind(t, err, errkind.Expired)
		w.stop()
	})
}

func TestStoreThatGoesBackEndsTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &held{Store: memory.New(), fault: make(chan error)}
		c, err := cache.New(cache.Config{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- c.Run(t.Context()) }()
		if _, err := store.Create(t.Context(), prefix+"a/x", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		store.swap(memory.New())
		store.fault <- errkind.New(errkind.Unavailable, "gone for a while")
		wantKind(t, <-done, errkind.Precondition)
	})
}

func TestSnapshotAt(t *testing.T) {
	store := memory.New()
	w := start(t, store, func(c *cache.Config) { c.Resources[0].HistoryEvents = 3 })
	var revisions []int64
	var states [][]string
	note := func(r int64) {
		w.fresh()
		revisions = append(revisions, r)
		states = append(states, show(w.table().Snapshot(), "", ""))
	}
	r := w.create("a/x", "1")
	note(r)
	r2 := w.create("a/y", "1")
	note(r2)
	r = w.update("a/x", r, "2")
	note(r)
	note(w.remove("a/y", r2))
	note(w.create("a/y", "3"))
	note(w.update("a/x", r, "3"))
	for i, revision := range revisions { // from the ring, or from the store
		s, err := w.table().SnapshotAt(t.Context(), revision)
		if err != nil {
			t.Fatal(err)
		}
		if s.Revision() != revision {
			t.Errorf("snapshot at %d, want %d", s.Revision(), revision)
		}
		want(t, fmt.Sprintf("as of %d", revision), states[i], show(s, "", ""))
	}
	if err := store.Compact(t.Context(), revisions[5]); err != nil {
		t.Fatal(err)
	}
	_, err := w.table().SnapshotAt(t.Context(), revisions[0])
	wantKind(t, err, errkind.Expired)
	_, err = w.table().SnapshotAt(t.Context(), revisions[5]+1)
	wantKind(t, err, errkind.Unavailable)
}

func TestPinnedSnapshotOutlivesTheHistory(t *testing.T) {
	store := memory.New()
	w := start(t, store, func(c *cache.Config) { c.Resources[0].HistoryEvents = 1 })
	r := w.create("a/x", "0")
	w.fresh()
	s := w.table().Snapshot()
	w.table().Pin(s)
	state, at := show(s, "", ""), r
	for i := range 5 {
		r = w.update("a/x", r, fmt.Sprint(i))
	}
	w.fresh()
	if err := store.Compact(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	again, err := w.table().SnapshotAt(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "the pinned state", state, show(again, "", ""))
}
