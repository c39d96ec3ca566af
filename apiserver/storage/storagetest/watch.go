package storagetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/apiserver/storage"
)

func testWatchNow(t *testing.T, f *fixture) {
	f.create("before", "1")
	w := f.watch(0)
	revision := f.create("a", "1")
	w.want(fmt.Sprintf("create a=1@%d", revision))
}

func testWatchPast(t *testing.T, f *fixture) {
	first := f.create("a", "1")
	second := f.update("a", "2", first)
	third := f.remove("a", second)
	w := f.watch(second)
	fourth := f.create("b", "1")
	w.want(
		fmt.Sprintf("change a=2@%d", second),
		fmt.Sprintf("delete a@%d", third),
		fmt.Sprintf("create b=1@%d", fourth),
	)
}

func testWatchDistantPast(t *testing.T, f *fixture) {
	var want []string
	from, at := int64(0), int64(0)
	for i := range 2500 { // more than etcd sends at once
		if i == 0 {
			from = f.create("a", "0")
			at = from
			want = append(want, fmt.Sprintf("create a=0@%d", at))
			continue
		}
		at = f.update("a", fmt.Sprint(i), at)
		want = append(want, fmt.Sprintf("change a=%d@%d", i, at))
	}
	f.watch(from).want(want...)
}

func testWatchFuture(t *testing.T, f *fixture) {
	first := f.create("a", "1")
	w := f.watch(first + 2)
	second := f.update("a", "2", first)
	third := f.update("a", "3", second)
	w.want(fmt.Sprintf("change a=3@%d", third))
}

func testWatchEvents(t *testing.T, f *fixture) {
	w := f.watch(0)
	first := f.create("a", "1")
	second := f.update("a", "2", first)
	third := f.remove("a", second)
	fourth := f.create("a", "")
	if _, err := f.Create(t.Context(), "/elsewhere"+f.prefix, []byte("x")); err != nil {
		t.Fatal(err)
	}
	fifth := f.create("b", "1")
	w.want(
		fmt.Sprintf("create a=1@%d", first),
		fmt.Sprintf("change a=2@%d", second),
		fmt.Sprintf("delete a@%d", third),
		fmt.Sprintf("create a=@%d", fourth),
		fmt.Sprintf("create b=1@%d", fifth),
	)
}

func testWatchResume(t *testing.T, f *fixture) {
	var want, got []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("create k%02d=v@%d", i, f.create(fmt.Sprintf("k%02d", i), "v")))
	}
	_, start, err := f.Get(t.Context(), f.key("k00"))
	if err != nil {
		t.Fatal(err)
	}
	from := start - 29
	for len(got) < len(want) {
		w := f.watch(from)
		for range min(7, len(want)-len(got)) {
			e := w.next()
			got = append(got, f.show(e))
			from = e.KV.ModRevision + 1
		}
		w.cancel()
		w.wantClosed()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events over several watches (-want +got):\n%s", diff)
	}
}

func testWatchSlow(t *testing.T, f *fixture) {
	w := f.watch(0)
	var want []string
	for i := range 2500 { // more than any buffer on the way holds
		name := fmt.Sprintf("k%04d", i)
		want = append(want, fmt.Sprintf("create %s=v@%d", name, f.create(name, "v")))
	}
	w.want(want...)
}

func testWatchEnds(t *testing.T, f *fixture) {
	w := f.watch(0)
	f.create("a", "1")
	w.cancel()
	w.wantClosed()
}

func testWatchConcurrent(t *testing.T, f *fixture) {
	const writers, each, watchers = 8, 25, 3
	streams := make([]*stream, watchers)
	for i := range streams {
		streams[i] = f.watch(0)
	}
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		written []storage.Event
	)
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				key := f.key(fmt.Sprintf("k%d-%d", i, j))
				revision, err := f.Create(t.Context(), key, []byte("v"))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				written = append(written, storage.Event{KV: storage.KV{
					Key: key, Value: []byte("v"), CreateRevision: revision, ModRevision: revision}})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(written, func(a, b storage.Event) int { return int(a.KV.ModRevision - b.KV.ModRevision) })
	var want []string
	for _, e := range written {
		want = append(want, f.show(e))
	}
	for _, s := range streams {
		s.want(want...)
	}
}

func testProgress(t *testing.T, f *fixture) {
	w := f.watch(0)
	target, err := f.Create(t.Context(), "/elsewhere"+f.prefix, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for w.reached < target {
		if time.Now().After(deadline) {
			t.Fatalf("progress reached %d, want %d", w.reached, target)
		}
		if err := f.Progress(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case batch := <-w.ch:
			if batch.Err != nil {
				t.Fatal(batch.Err)
			}
			w.check(batch)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
