package proxy_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/netns/netnstest"
)

// TestChangesWhileConnecting changes endpoints without pause while clients connect: a packet whose lookups fall on both sides of a change must
// find a way all the same.
func TestChangesWhileConnecting(t *testing.T) {
	w := newWorld(t)
	pods := []pod{w.pod("a"), w.pod("b"), w.pod("c")}
	client := w.pod("client")
	w.sync(svc(nil, pods...))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { w.proxy.Run(ctx) })
	var asked, slow atomic.Int64
	for range 3 {
		for _, from := range []*netns.NS{client.ns, w.node} {
			wg.Go(func() {
				for ctx.Err() == nil {
					begin := time.Now()
					if _, _, err := netnstest.Ask(from, "10.43.0.5:8000"); err != nil {
						t.Errorf("failed connection: %v", err)
						return
					}
					asked.Add(1)
					if time.Since(begin) > 900*time.Millisecond {
						slow.Add(1) // a dropped packet, sent again
					}
				}
			})
		}
	}
	changes := 0
	for i := 0; ctx.Err() == nil; i++ {
		w.sync(svc(nil, pods[:1+i%3]...))
		changes++
	}
	wg.Wait()
	t.Logf("%d connections, %d of them slow, %d changes", asked.Load(), slow.Load(), changes)
}
