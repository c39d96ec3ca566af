package agent

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/network/dns"
	"github.com/cuppa-project/cuppa/network/podnet"
	"github.com/cuppa-project/cuppa/network/proxy"
)

// known is what the loop remembers between two rounds.
type known struct {
	published map[string]*corev1.Service // Services with published ports
	pods      []podnet.PodPort
	podNames  map[string]bool // of the proxy's Services for pods' host ports
	allotted  allotment
	nodes     []*corev1.Node
	namesLost bool            // the DNS zone must be sent whole
	unsynced  map[string]bool // Services that the proxy could not load
}

func newKnown() known {
	return known{
		published: map[string]*corev1.Service{}, podNames: map[string]bool{}, unsynced: map[string]bool{}, namesLost: true,
		allotted: allot(nil),
	}
}

// sync carries one batch over, and says whether it should be called again before long.
func (a *Agent) sync(ctx context.Context, b batch) (again bool) {
	k := &a.known
	if b.nodes != nil {
		k.nodes = b.nodes
	}
	for key := range k.unsynced {
		if _, there := b.services[key]; !there {
			b.services[key] = a.index.observe(key)
		}
	}
	clear(k.unsynced)
	moved := a.syncPorts(b)
	for _, key := range moved {
		b.services[key] = a.index.observe(key)
	}
	again = a.syncProxy(b) || again
	again = a.syncNames(ctx, b) || again
	a.report(b)
	return again || len(k.allotted.refused) > 0
}

// syncPorts allots the node's ports and opens sockets for them. It returns the Services whose lot has changed.
func (a *Agent) syncPorts(b batch) (moved []string) {
	k := &a.known
	changed := b.pods || len(k.allotted.refused) > 0
	for key, o := range b.services {
		_, before := k.published[key]
		if published(o.service) {
			k.published[key] = o.service
			changed = true
		} else if before {
			delete(k.published, key)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	if b.pods && a.cfg.Pods != nil {
		k.pods = a.cfg.Pods.HostPorts()
	}
	all := podWishes(k.pods)
	for _, s := range k.published {
		all = append(all, wishes(s)...)
	}
	now := allot(all)
	for _, c := range a.ports.Sync(now.ports) {
		key := portKey{addr: c.Addr, port: c.Port.Port, protocol: c.Protocol}
		w := now.owners[key]
		delete(now.owners, key)
		now.refuse(w, c.Reason)
	}
	moved = difference(k.allotted, now)
	k.allotted = now
	return moved
}

// difference lists the Services that got or lost a port, or are refused one for another reason.
func difference(before, now allotment) []string {
	changed := map[string]bool{}
	for key, w := range now.owners {
		if before.owners[key].service != w.service {
			changed[w.service] = true
		}
	}
	for key, w := range before.owners {
		if now.owners[key].service != w.service {
			changed[w.service] = true
		}
	}
	for _, name := range append(slices.Collect(maps.Keys(before.refused)), slices.Collect(maps.Keys(now.refused))...) {
		if !maps.Equal(before.refused[name], now.refused[name]) {
			changed[name] = true
		}
	}
	delete(changed, "") // pods have no status of ours
	return slices.Sorted(maps.Keys(changed))
}

// held says whether a Service ("" stands for pods) has a port.
func (k *known) held(service string) func(portKey) bool {
	return func(key portKey) bool {
		w, ok := k.allotted.owners[key]
		return ok && w.service == service
	}
}

func (a *Agent) syncProxy(b batch) (again bool) {
	k := &a.known
	changes := make(map[string]*proxy.Service, len(b.services))
	for key, o := range b.services {
		changes[key] = proxyService(o, a.cfg.NodeName, k.held(key))
	}
	if b.pods || len(k.allotted.refused) > 0 {
		now := podServices(k.pods, k.held(""))
		for name := range k.podNames {
			changes[name] = nil
		}
		maps.Copy(changes, now)
		k.podNames = map[string]bool{}
		for name := range now {
			k.podNames[name] = true
		}
	}
	if err := a.proxy.Sync(changes); err != nil {
		a.cfg.Log.Error("load Service tables", "err", err)
		for key := range b.services {
			k.unsynced[key] = true
		}
		return true
	}
	a.chosen.loaded(changes)
	return false
}

func (a *Agent) syncNames(ctx context.Context, b batch) (again bool) {
	k := &a.known
	changes := func(all bool) map[string]*dns.Service {
		services := b.services
		if all {
			services = a.index.all()
		}
		out := make(map[string]*dns.Service, len(services))
		for key, o := range services {
			out[key] = dnsService(o)
		}
		return out
	}
	if err := a.updateNames(ctx, changes, k.namesLost || b.names); err != nil {
		a.cfg.Log.Error("load DNS names", "err", err)
		k.namesLost = true
		return true
	}
	k.namesLost = false
	return false
}

// report has the status of Services written that may have to change.
func (a *Agent) report(b batch) {
	if a.cfg.NoStatus {
		return
	}
	addrs := nodeAddrs(a.known.nodes, a.cfg.NodeIPs)
	touched := map[string]*corev1.Service{}
	for key, o := range b.services {
		if o.service != nil && (published(o.service) || len(o.service.Status.LoadBalancer.Ingress) > 0) {
			touched[key] = o.service
		}
	}
	if b.nodes != nil {
		maps.Copy(touched, a.known.published)
	}
	for key := range touched {
		a.status.put(key, wanted{addrs: addrs, refused: a.known.allotted.refused[key]})
	}
}
