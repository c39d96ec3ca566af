package agent

import (
	"context"
	"net/netip"
	"sync"

	"github.com/cuppa-project/cuppa/network/proxy"
)

// chosen counts, per address, the Services whose new connections may go there, as the kernel has it.
type chosen struct {
	mu      sync.Mutex
	by      map[string][]netip.Addr // per Service
	count   map[netip.Addr]int
	changed chan struct{} // closed and replaced at every change
}

func newChosen() *chosen {
	return &chosen{by: map[string][]netip.Addr{}, count: map[netip.Addr]int{}, changed: make(chan struct{})}
}

// loaded enters Services that the kernel has just taken.
func (c *chosen) loaded(services map[string]*proxy.Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, s := range services {
		for _, a := range c.by[key] {
			if c.count[a]--; c.count[a] == 0 {
				delete(c.count, a)
			}
		}
		delete(c.by, key)
		for _, a := range readyAddrs(s) {
			c.by[key] = append(c.by[key], a)
			c.count[a]++
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func readyAddrs(s *proxy.Service) []netip.Addr {
	if s == nil {
		return nil
	}
	seen := map[netip.Addr]bool{}
	var out []netip.Addr
	for _, p := range s.Ports {
		for _, e := range p.Endpoints {
			if e.Ready && !e.Terminating && !seen[e.Addr()] {
				seen[e.Addr()] = true
				out = append(out, e.Addr())
			}
		}
	}
	return out
}

// busy says whether any of the addresses is chosen, and gives what to wait for.
func (c *chosen) busy(addrs []netip.Addr) (bool, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range addrs {
		if c.count[a] > 0 {
			return true, c.changed
		}
	}
	return false, nil
}

// Drained waits until this node sends no new connections to a pod's addresses, so that its processes may be told to end: a server that stops
// listening any earlier refuses clients that were just sent to it. The wait is for the news of the pod's end to come round through the API, a few
// milliseconds; ctx should bound it. A pod that is the last one, and so still serves while it ends, counts as drained.
func (a *Agent) Drained(ctx context.Context, addrs []netip.Addr) error {
	for {
		busy, changed := a.chosen.busy(addrs)
		if !busy {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
