package cache_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
)

// many fills a store with configmaps of about 700 bytes.
func many(b *testing.B, store storage.Store, n int) {
	b.Helper()
	padding := fmt.Sprintf("%0500d", 0)
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				key := fmt.Sprintf("ns%d/k%d", i%10, i)
				if _, err := store.Create(b.Context(), prefix+key, value(key, padding, "app=web")); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkFanOut is one write seen by 1,000 watchers, each of which takes the shared frame.
func BenchmarkFanOut(b *testing.B) {
	const watchers = 1000
	w := start(b, memory.New())
	revision := w.create("a/x", "0")
	w.fresh()
	var seen sync.WaitGroup
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for range watchers {
		watcher := w.watch(cache.WatchOptions{Since: revision})
		go func() {
			for {
				changes, err := watcher.Next(ctx)
				if err != nil {
					return
				}
				for _, c := range changes {
					_, _ = c.Frame("json", func(c cache.Change) ([]byte, error) { return c.Entry.JSON(), nil })
					seen.Done()
				}
			}
		}()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		seen.Add(watchers)
		revision = w.update("a/x", revision, "1")
		seen.Wait()
	}
	b.ReportMetric(float64(b.N*watchers)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkNarrow is one write among 10,000 watchers of other names.
func BenchmarkNarrow(b *testing.B) {
	w := start(b, memory.New())
	revision := w.create("a/x", "0")
	w.fresh()
	for i := range 10000 {
		w.watch(cache.WatchOptions{Since: revision, Prefix: fmt.Sprintf("a/other%d", i), Exact: true})
	}
	b.ResetTimer()
	for range b.N {
		revision = w.update("a/x", revision, "1")
		w.fresh()
	}
}

// BenchmarkList walks 10,000 entries in three ways.
func BenchmarkList(b *testing.B) {
	store := memory.New()
	many(b, store, 10000)
	w := start(b, store, func(c *cache.Config) { c.PageSize = 2000 })
	for _, way := range []struct {
		name string
		size func(cache.Entry) int
	}{
		{"stored", func(e cache.Entry) int { return len(e.Stored()) }},
		{"json", func(e cache.Entry) int { return len(e.JSON()) }},
		{"labels", func(e cache.Entry) int { return len(e.Labels()) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				n, size := 0, 0
				w.table().Snapshot().Ascend("", "", func(e cache.Entry) bool {
					n++
					size += way.size(e)
					return true
				})
				if n != 10000 || size == 0 {
					b.Fatal(n, size)
				}
			}
		})
	}
}

// BenchmarkLoad is a cache's start on 10,000 keys in etcd.
func BenchmarkLoad(b *testing.B) {
	store := embedded(b)
	many(b, store, 10000)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		start(b, store, func(c *cache.Config) { c.PageSize = 2000 }).stop()
	}
}

// BenchmarkWriteThenFreshRead is the cost and the delay of reading one's own write from the cache, on etcd.
func BenchmarkWriteThenFreshRead(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			w := start(b, embedded(b))
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						key := fmt.Sprintf("a/k%d", i)
						w.create(key, "n")
						w.fresh()
						if _, ok := w.table().Get(key); !ok {
							b.Errorf("%s is not there", key)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
		})
	}
}

// BenchmarkFreshGet is a quorum-fresh read while nobody writes.
func BenchmarkFreshGet(b *testing.B) {
	w := start(b, embedded(b))
	w.create("a/x", "n")
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := w.cache.Fresh(b.Context()); err != nil {
				b.Error(err)
			}
			w.table().Get("a/x")
		}
	})
}
