package etcd_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/apiserver/storage/etcd"
)

// BenchmarkCreate measures durable writes of 1,500 bytes, one transaction each.
func BenchmarkCreate(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			store, _ := start(b, embedded(b, etcd.EmbeddedConfig{}))
			value := make([]byte, 1500)
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for {
						i := n.Add(1)
						if i > int64(b.N) {
							return
						}
						if _, err := store.Create(b.Context(), fmt.Sprintf("/registry/bench/%09d", i), value); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "txn/s")
		})
	}
}

// BenchmarkStart measures a member's start on a new directory, to its first acknowledged write, and its stop.
func BenchmarkStart(b *testing.B) {
	var ready, written, stopped time.Duration
	for range b.N {
		began := time.Now()
		store, stop := start(b, embedded(b, etcd.EmbeddedConfig{}))
		ready += time.Since(began)
		if _, err := store.Create(b.Context(), "/registry/first", []byte("x")); err != nil {
			b.Fatal(err)
		}
		written += time.Since(began)
		ending := time.Now()
		stop()
		stopped += time.Since(ending)
	}
	n := float64(b.N)
	b.ReportMetric(ready.Seconds()*1000/n, "ms-to-ready")
	b.ReportMetric(written.Seconds()*1000/n, "ms-to-write")
	b.ReportMetric(stopped.Seconds()*1000/n, "ms-to-stop")
}
