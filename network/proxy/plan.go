package proxy

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cuppa-project/cuppa/network/nft"
)

// state is one family's table as it is loaded, or as it will be once the plan made from it is.
type state struct {
	layout   layout
	services map[string]loaded
	claims   map[claimKey][]claim
	classes  map[class]bool
	hairpin  map[netip.Addr]int // how many endpoints have the address
}

type loaded struct {
	service *Service
	compiled
}

// claimKey is an address and port that several Services may ask for.
type claimKey struct{ set, key string }

type claim struct {
	rank int64
	name string
}

func newState(l layout) *state {
	return &state{
		layout: l, services: map[string]loaded{}, claims: map[claimKey][]claim{}, classes: map[class]bool{}, hairpin: map[netip.Addr]int{},
	}
}

// plan is what one change of Services does to one family's table.
type plan struct {
	update nft.Update
	// reload: the table's sets change, so it is to be replaced as a whole.
	reload bool
	// gone are endpoints that connections without a state of their own (UDP) must be taken off; opened are keys that had none.
	gone, opened []flow
}

// flow names conntrack entries: those of a protocol from any client to a port (by any address if addr is zero), answered by endpoint if valid.
type flow struct {
	protocol Protocol
	addr     netip.Addr
	port     uint16
	endpoint netip.AddrPort
}

// change brings the state to the new Services (nil: gone) and returns what the kernel must do. It is pure but for the state itself.
func (s *state) change(changed map[string]*Service) plan {
	affected := s.claim(changed)
	var p plan
	hairpinTouched := map[netip.Addr]int{}
	found := map[class]bool{}
	for _, name := range slices.Sorted(maps.Keys(affected)) {
		old := s.services[name]
		svc := s.wanted(name, changed)
		var now loaded
		if svc != nil {
			now = loaded{service: svc, compiled: compile(s.layout, svc, old.slots, s.wonBy(name))}
			s.services[name] = now
		} else {
			delete(s.services, name)
		}
		for _, c := range now.classes {
			found[c] = true
		}
		remove, add := diff(old.elements, now.elements)
		p.update.Remove = append(p.update.Remove, remove...)
		p.update.Add = append(p.update.Add, add...)
		p.flows(s.layout, old, now)
		for _, a := range old.local {
			hairpinTouched[a]--
		}
		for _, a := range now.local {
			hairpinTouched[a]++
		}
	}
	p.hairpin(s, hairpinTouched)
	p.newClasses(s, found)
	// What is removed here may be added there, with the same key: by another Service that had lost the claim.
	p.update.Remove, p.update.Add = settle(p.update.Remove, p.update.Add)
	return p
}

func (s *state) wanted(name string, changed map[string]*Service) *Service {
	if svc, ok := changed[name]; ok {
		return svc
	}
	return s.services[name].service
}

// claim enters the claims of the changed Services and returns the names of all Services to compile again.
func (s *state) claim(changed map[string]*Service) map[string]bool {
	affected := map[string]bool{}
	touched := map[claimKey]string{} // with the winner before
	for name, svc := range changed {
		affected[name] = true
		for _, k := range claimsOf(s.layout, s.services[name].service) {
			s.touch(touched, k)
			s.claims[k] = slices.DeleteFunc(s.claims[k], func(c claim) bool { return c.name == name })
		}
		for _, k := range claimsOf(s.layout, svc) {
			s.touch(touched, k)
			s.claims[k] = append(s.claims[k], claim{rank: svc.Rank, name: name})
		}
	}
	for k, before := range touched {
		slices.SortFunc(s.claims[k], func(a, b claim) int {
			return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name))
		})
		if len(s.claims[k]) == 0 {
			delete(s.claims, k)
		}
		if now := s.winner(k); now != before {
			for _, name := range []string{before, now} {
				if _, there := s.services[name]; there {
					affected[name] = true
				}
			}
		}
	}
	return affected
}

func (s *state) touch(touched map[claimKey]string, k claimKey) {
	if _, ok := touched[k]; !ok {
		touched[k] = s.winner(k)
	}
}

func (s *state) winner(k claimKey) string {
	if c := s.claims[k]; len(c) > 0 {
		return c[0].name
	}
	return ""
}

func (s *state) wonBy(name string) func(set, key string) bool {
	return func(set, key string) bool { return s.winner(claimKey{set, key}) == name }
}

func claimsOf(l layout, svc *Service) []claimKey {
	if svc == nil {
		return nil
	}
	var keys []claimKey
	for _, p := range svc.Ports {
		for _, port := range openPorts(l, svc, p) {
			keys = append(keys, claimKey{byPort + setServices, rawPortKey(p.Protocol, port)})
		}
		for _, ip := range externalAddrs(svc, p) {
			if l.has(ip) {
				keys = append(keys, claimKey{setServices, rawKey(ip, p)})
			}
		}
	}
	slices.SortFunc(keys, func(a, b claimKey) int { return cmp.Or(cmp.Compare(a.set, b.set), cmp.Compare(a.key, b.key)) })
	return slices.Compact(keys)
}

// newClasses adds the chains of classes that appear with this change. A class with a new affinity time needs a new set too, which is left
// to a reload of the whole table, because it is rare.
func (p *plan) newClasses(s *state, found map[class]bool) {
	for _, c := range sortedClasses(found) {
		if s.classes[c] {
			continue
		}
		s.classes[c] = true
		p.reload = p.reload || c.affinity > 0 && !slices.Contains(s.layout.affinity, c.affinity)
		p.update.Chains = append(p.update.Chains, s.layout.chains(c)...)
		p.update.Add = append(p.update.Add, classElements(c)...)
	}
}

func sortedClasses(set map[class]bool) []class {
	return slices.SortedFunc(maps.Keys(set), func(a, b class) int { return cmp.Compare(a.number(), b.number()) })
}

// classElements are the entries of the two verdict maps for one class.
func classElements(c class) []nft.Element {
	key := nft.RawMark(c.number())
	return []nft.Element{
		{Set: setClasses, Key: key, Data: c.chain("")},
		{Set: byPort + setClasses, Key: key, Data: c.chain(byPort)},
	}
}

// whole returns the table with everything in it, for loading it afresh, and the classes in it: those that nobody uses any more are left out.
func (s *state) whole() (nft.Table, []nft.Element, map[class]bool) {
	used := map[class]bool{{}: true, {drop: true}: true}
	var elements []nft.Element
	for _, name := range slices.Sorted(maps.Keys(s.services)) {
		svc := s.services[name]
		elements = append(elements, svc.elements...)
		for _, c := range svc.classes {
			used[c] = true
		}
	}
	l := s.layout
	l.affinity = affinityTimes(used)
	t := l.table()
	for _, c := range sortedClasses(used) {
		t.Chains = append(t.Chains, l.chains(c)...)
		elements = append(elements, classElements(c)...)
	}
	for _, a := range slices.SortedFunc(maps.Keys(s.hairpin), netip.Addr.Compare) {
		elements = append(elements, hairpinElement(a))
	}
	return t, elements, used
}

// loadedWhole records that the kernel now holds exactly these classes.
func (s *state) loadedWhole(used map[class]bool) {
	s.classes = used
	s.layout.affinity = affinityTimes(used)
}

func affinityTimes(classes map[class]bool) []time.Duration {
	var times []time.Duration
	for c := range classes {
		if c.affinity > 0 {
			times = append(times, c.affinity)
		}
	}
	slices.Sort(times)
	return slices.Compact(times)
}

// flows lists the flows of all Services.
func (s *state) flows() map[flow]bool {
	all := map[flow]bool{}
	for _, svc := range s.services {
		maps.Copy(all, flowsOf(s.layout, svc.service))
	}
	return all
}

func hairpinElement(a netip.Addr) nft.Element {
	return nft.Element{Set: setHairpin, Key: nft.RawAddr(a) + nft.RawAddr(a)}
}

func (p *plan) hairpin(s *state, touched map[netip.Addr]int) {
	for _, a := range slices.SortedFunc(maps.Keys(touched), netip.Addr.Compare) {
		before := s.hairpin[a]
		now := before + touched[a]
		if now > 0 {
			s.hairpin[a] = now
		} else {
			delete(s.hairpin, a)
		}
		switch {
		case before == 0 && now > 0:
			p.update.Add = append(p.update.Add, hairpinElement(a))
		case before > 0 && now <= 0:
			p.update.Remove = append(p.update.Remove, hairpinElement(a))
		}
	}
}

// diff compares two ordered lists. An element whose data changes is removed and added: in one transaction no packet sees it missing.
func diff(old, now []nft.Element) (remove, add []nft.Element) {
	for len(old) > 0 || len(now) > 0 {
		order := 0
		switch {
		case len(old) == 0:
			order = 1
		case len(now) == 0:
			order = -1
		default:
			order = cmp.Or(cmp.Compare(old[0].Set, now[0].Set), cmp.Compare(old[0].Key, now[0].Key))
		}
		switch {
		case order < 0:
			remove, old = append(remove, old[0]), old[1:]
		case order > 0:
			add, now = append(add, now[0]), now[1:]
		default:
			if old[0].Data != now[0].Data {
				remove, add = append(remove, old[0]), append(add, now[0])
			}
			old, now = old[1:], now[1:]
		}
	}
	return remove, add
}

// settle drops pairs that remove and add the very same element.
func settle(remove, add []nft.Element) ([]nft.Element, []nft.Element) {
	if len(remove) == 0 || len(add) == 0 {
		return remove, add
	}
	adding := make(map[nft.Element]bool, len(add))
	for _, e := range add {
		adding[e] = true
	}
	both := map[nft.Element]bool{}
	for _, e := range remove {
		if adding[e] {
			both[e] = true
		}
	}
	if len(both) == 0 {
		return remove, add
	}
	drop := func(e nft.Element) bool { return both[e] }
	return slices.DeleteFunc(remove, drop), slices.DeleteFunc(add, drop)
}

// flows finds what a Service's change means for protocols whose connections have no end of their own.
func (p *plan) flows(l layout, old, now loaded) {
	was, is := flowsOf(l, old.service), flowsOf(l, now.service)
	for _, f := range sortedFlows(was) {
		if f.endpoint.IsValid() && !is[f] {
			p.gone = append(p.gone, f)
		}
	}
	for _, f := range sortedFlows(is) {
		if !f.endpoint.IsValid() && !was[f] {
			p.opened = append(p.opened, f)
		}
	}
}

func sortedFlows(set map[flow]bool) []flow {
	return slices.SortedFunc(maps.Keys(set), func(a, b flow) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

// flowsOf lists the flows a Service has: one per port and endpoint, and one without endpoint per port that is open.
func flowsOf(l layout, svc *Service) map[flow]bool {
	set := map[flow]bool{}
	if svc == nil {
		return set
	}
	for _, p := range svc.Ports {
		if p.Protocol == TCP {
			continue
		}
		endpoints := scope(p.Endpoints, l.family, false).endpoints
		var heads []flow
		for _, ip := range append(slices.Clone(svc.ClusterIPs), externalAddrs(svc, p)...) {
			if l.has(ip) {
				heads = append(heads, flow{protocol: p.Protocol, addr: ip, port: p.Port})
			}
		}
		for _, port := range openPorts(l, svc, p) {
			heads = append(heads, flow{protocol: p.Protocol, port: port})
		}
		for _, h := range heads {
			if len(endpoints) > 0 {
				set[h] = true
			}
			for _, e := range endpoints {
				h.endpoint = e
				set[h] = true
			}
		}
	}
	return set
}
