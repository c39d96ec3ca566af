package proxy

import (
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/cuppa-project/cuppa/network/nft"
)

// compiled is what one Service becomes in one family's table.
type compiled struct {
	elements []nft.Element // in order
	classes  []class
	slots    map[string][]netip.AddrPort // the order of endpoints, per key
	local    []netip.Addr                // endpoints on this node, with repetitions
}

// compile is pure: a Service, and the order its endpoints had before, to elements. won says whether the Service may have
// a key that others may claim too: a port of the node, or an external address.
func compile(l layout, s *Service, before map[string][]netip.AddrPort, won func(set, key string) bool) compiled {
	c := compiled{slots: map[string][]netip.AddrPort{}}
	for _, p := range s.Ports {
		internal := scope(p.Endpoints, l.family, s.InternalLocal)
		external := scope(p.Endpoints, l.family, s.ExternalLocal)
		for _, ip := range s.ClusterIPs {
			if !l.has(ip) {
				continue
			}
			c.key("", rawKey(ip, p), s, internal, before)
		}
		for _, ip := range externalAddrs(s, p) {
			if key := rawKey(ip, p); l.has(ip) && won(setServices, key) {
				c.key("", key, s, external, before)
			}
		}
		for _, port := range openPorts(l, s, p) {
			if key := rawPortKey(p.Protocol, port); won(byPort+setServices, key) {
				c.key(byPort, key, s, external, before)
			}
		}
		for _, e := range p.Endpoints {
			if e.Local && l.has(e.Addr()) && (e.Ready || e.Serving) {
				c.local = append(c.local, e.Addr())
			}
		}
	}
	slices.SortFunc(c.elements, nft.Element.Compare)
	c.elements = slices.CompactFunc(c.elements, func(a, b nft.Element) bool { return a.Set == b.Set && a.Key == b.Key })
	return c
}

func (l layout) has(a netip.Addr) bool { return a.Is4() == (l.family == nft.IPv4) }

// target is a list of endpoints, and whether there are others outside the scope.
type target struct {
	endpoints []netip.AddrPort
	elsewhere bool
}

func scope(all []Endpoint, f nft.Family, localOnly bool) target {
	var t target
	all = slices.DeleteFunc(slices.Clone(all), func(e Endpoint) bool { return e.Addr().Is4() != (f == nft.IPv4) })
	for _, e := range usable(all, localOnly) {
		t.endpoints = append(t.endpoints, e.AddrPort)
	}
	slices.SortFunc(t.endpoints, netip.AddrPort.Compare)
	t.endpoints = slices.Compact(t.endpoints)
	t.elsewhere = localOnly && len(t.endpoints) == 0 && len(usable(all, false)) > 0
	return t
}

// openPorts are the ports of the node that lead to the Service's port. A Service without a cluster address of the family has none: in a
// family that it does not serve, the port is other people's. (A pod's host port has no cluster address at all; it serves its endpoints' families.)
func openPorts(l layout, s *Service, p Port) []uint16 {
	var open []uint16
	serves := slices.ContainsFunc(s.ClusterIPs, l.has)
	if len(s.ClusterIPs) == 0 {
		serves = slices.ContainsFunc(p.Endpoints, func(e Endpoint) bool { return l.has(e.Addr()) })
	}
	if !serves {
		return nil
	}
	if p.NodePort != 0 {
		open = append(open, p.NodePort)
	}
	if p.Published && len(p.PublishedOn) == 0 && p.Port != p.NodePort {
		open = append(open, p.Port)
	}
	return open
}

func externalAddrs(s *Service, p Port) []netip.Addr {
	addrs := slices.Clone(s.ExternalIPs)
	if p.Published {
		addrs = append(addrs, p.PublishedOn...)
	}
	// Nothing can be translated from ::1: the reply would have to leave the loopback link with it.
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return a == netip.IPv6Loopback() })
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

func rawKey(ip netip.Addr, p Port) string {
	return nft.RawAddr(ip) + rawPortKey(p.Protocol, p.Port)
}

func rawPortKey(proto Protocol, port uint16) string {
	return nft.RawProto(uint8(proto)) + nft.RawPort(port)
}

// key adds one key of a kind with its endpoints.
func (c *compiled) key(kind, key string, s *Service, t target, before map[string][]netip.AddrPort) {
	cl := class{slots: len(t.endpoints), drop: t.elsewhere}
	if cl.slots > 0 && cl.slots < maxSticky {
		cl.affinity = s.Affinity
	}
	c.add(kind+setServices, key, nft.RawMark(cl.number()))
	if !slices.Contains(c.classes, cl) {
		c.classes = append(c.classes, cl)
	}
	order := arrange(before[kind+key], t.endpoints)
	c.slots[kind+key] = order
	for slot, e := range order {
		pod, slot := nft.RawAddr(e.Addr())+nft.RawPort(e.Port()), nft.RawMark(uint32(slot))
		if cl.affinity == 0 {
			c.add(kind+setEndpoints, key+slot, pod)
			continue
		}
		number := nft.RawMark(endpointNumber(e, order))
		c.add(kind+setStickySlots, key+slot, number)
		c.add(kind+setStickyEndpoints, key+number, pod)
	}
}

// endpointNumber tells an endpoint from the others of its Service, the same for as long as it is one: a hash of its address, never 0. Should
// two clash, the one with the higher address takes the next number.
func endpointNumber(e netip.AddrPort, all []netip.AddrPort) uint32 {
	n := hash(e)
	for _, other := range all {
		if other.Compare(e) < 0 && hash(other) == n {
			n++
		}
	}
	return n
}

func hash(e netip.AddrPort) uint32 {
	h := fnv.New32a()
	h.Write([]byte(e.String()))
	return h.Sum32()>>1 + 1
}

func (c *compiled) add(set, key, data string) {
	c.elements = append(c.elements, nft.Element{Set: set, Key: key, Data: data})
}

// arrange gives the wanted endpoints slots such that as few as possible move: those that stay keep theirs, new ones fill the holes, and
// then the last ones move into what holes remain.
func arrange(before, want []netip.AddrPort) []netip.AddrPort {
	if len(before) == 0 {
		return want
	}
	missing := map[netip.AddrPort]bool{}
	for _, e := range want {
		missing[e] = true
	}
	slots := make([]netip.AddrPort, len(before), max(len(before), len(want)))
	for i, e := range before {
		if missing[e] {
			slots[i] = e
			delete(missing, e)
		}
	}
	var fresh []netip.AddrPort
	for _, e := range want {
		if missing[e] {
			fresh = append(fresh, e)
		}
	}
	for i := range slots {
		if !slots[i].IsValid() && len(fresh) > 0 {
			slots[i], fresh = fresh[0], fresh[1:]
		}
	}
	slots = append(slots, fresh...)
	for i := 0; i < len(slots); i++ {
		if slots[i].IsValid() {
			continue
		}
		last := len(slots) - 1
		slots[i], slots = slots[last], slots[:last]
		i-- // the one moved here may be a hole itself
	}
	return slots
}
