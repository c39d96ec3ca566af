package proxy

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/network/nft"
)

// The maps. All that grow with Services hold data; the two verdict maps hold a few tens of classes: the kernel examines every chain that a
// verdict map leads to at each change of it. A connection's key is its destination (address, protocol, port), or, in the maps
// whose names begin with "port-", the protocol and port of the node alone. Every chain makes
// its key from the packet again, because registers do not outlive a rule; a number that must is left with the packet (nft.Scratch).
const (
	setServices        = "services"         // key -> class
	setEndpoints       = "endpoints"        // key, slot -> pod address, pod port
	setStickySlots     = "sticky-slots"     // key, slot -> endpoint number, for Services with affinity
	setStickyEndpoints = "sticky-endpoints" // key, endpoint number -> pod address, pod port
	setClasses         = "classes"          // class -> chain
	setHairpin         = "hairpin"          // pod address, pod address: pods of this node that endpoints are

	byPort = "port-"
)

const (
	chainServices = "service-rules"
	chainClassify = "classify" // and, with byPort, for ports of the node
	chainRefuse   = "refuse"
	chainDiscard  = "discard"
)

// class says how a Service port's connections are spread. Its number is what the services map holds.
type class struct {
	slots    int           // number of endpoints; 0: none
	drop     bool          // no endpoint here, others elsewhere: silence rather than a refusal
	affinity time.Duration // 0: each connection chooses anew
}

// maxSticky is the number of endpoints from which on affinity is given up: the class's number has no room for more.
const maxSticky = 1 << 13

// number packs the class; affinity takes whole seconds up to a day, as the API does.
func (c class) number() uint32 {
	switch {
	case c.slots == 0 && c.drop:
		return 2
	case c.slots == 0:
		return 1
	case c.affinity > 0:
		return 1<<30 | uint32(c.slots)<<17 | uint32(c.affinity/time.Second)
	}
	return 1<<24 | uint32(c.slots)
}

// chain is the name of the class's chain for keys of a kind ("" or byPort).
func (c class) chain(kind string) string {
	switch {
	case c.slots == 0 && c.drop:
		return chainDiscard
	case c.slots == 0:
		return chainRefuse
	case c.affinity > 0:
		return fmt.Sprintf("%slb-%d-stay-%d", kind, c.slots, c.affinity/time.Second)
	}
	return fmt.Sprintf("%slb-%d", kind, c.slots)
}

func affinitySet(kind string, d time.Duration) string {
	return fmt.Sprintf("%saffinity-%d", kind, d/time.Second)
}

// layout is what the rules of one family's table depend on.
type layout struct {
	family   nft.Family
	name     string
	node     netip.Addr     // the node's own pod-side address
	pods     []netip.Prefix // the node's pod ranges
	cluster  []netip.Prefix // all nodes' pod ranges
	services []netip.Prefix
	dns      []netip.Addr
	affinity []time.Duration
}

// table is the table without the chains of classes.
func (l layout) table() nft.Table {
	f := l.family
	t := nft.Table{Family: f, Name: l.name, Sets: append(l.sets(""), l.sets(byPort)...)}
	t.Sets = append(t.Sets, nft.Set{Name: setHairpin, Key: []nft.Type{nft.Addr(f), nft.Addr(f)}})
	t.Chains = []nft.Chain{
		{Name: chainRefuse, Rules: l.refuse()},
		{Name: chainDiscard, Rules: []nft.Rule{{nft.Drop()}}},
		classify(l.family, ""), classify(l.family, byPort),
		{Name: chainServices, Rules: l.dispatch()},
		{Name: "raw-prerouting", Hook: &nft.Hook{Type: "filter", Point: unix.NF_INET_PRE_ROUTING, Priority: -300}, Rules: l.rawIn()},
		{Name: "raw-output", Hook: &nft.Hook{Type: "filter", Point: unix.NF_INET_LOCAL_OUT, Priority: -300}, Rules: l.untrackDNS()},
		{Name: "nat-prerouting", Hook: &nft.Hook{Type: "nat", Point: unix.NF_INET_PRE_ROUTING, Priority: -100}, Rules: []nft.Rule{{nft.Jump(chainServices)}}},
		{Name: "nat-output", Hook: &nft.Hook{Type: "nat", Point: unix.NF_INET_LOCAL_OUT, Priority: -100}, Rules: []nft.Rule{{nft.Jump(chainServices)}}},
		{Name: "guard", Hook: &nft.Hook{Type: "filter", Point: unix.NF_INET_PRE_ROUTING, Priority: -90}, Rules: l.guard()},
		{Name: "nat-postrouting", Hook: &nft.Hook{Type: "nat", Point: unix.NF_INET_POST_ROUTING, Priority: 100}, Rules: l.postrouting()},
	}
	return t
}

// sets are the maps for keys of a kind.
func (l layout) sets(kind string) []nft.Set {
	addr, proto, port, mark := nft.Addr(l.family), nft.Proto(), nft.Port(), nft.Mark()
	key := []nft.Type{addr, proto, port}
	if kind == byPort {
		key = key[1:]
	}
	numbered := append(slices.Clone(key), mark)
	sets := []nft.Set{
		{Name: kind + setServices, Key: key, Data: []nft.Type{mark}},
		{Name: kind + setEndpoints, Key: numbered, Data: []nft.Type{addr, port}},
		{Name: kind + setStickySlots, Key: numbered, Data: []nft.Type{mark}},
		{Name: kind + setStickyEndpoints, Key: numbered, Data: []nft.Type{addr, port}},
		{Name: kind + setClasses, Key: []nft.Type{mark}, Verdicts: true},
	}
	for _, d := range l.affinity {
		sets = append(sets, nft.Set{
			Name: affinitySet(kind, d), Key: append([]nft.Type{addr}, key...), Data: []nft.Type{mark}, Dynamic: true, Timeout: d, Size: 65536,
		})
	}
	return sets
}

func (l layout) refuse() []nft.Rule {
	return []nft.Rule{{nft.IsProto(l.family, unix.IPPROTO_TCP), nft.Reset()}, {nft.Unreachable(l.family)}}
}

// dispatch finds the class of a new connection: by its own destination, or, for the node's addresses, by the port alone.
func (l layout) dispatch() []nft.Rule {
	f := l.family
	var rules []nft.Rule
	for _, d := range l.dns {
		// The DNS address is the node's own: its server answers, whatever ports others publish.
		rules = append(rules, nft.Rule{nft.IsAddr(f, nft.Daddr(), d), nft.IsPort(f, nft.Dport(), 53), nft.Return()})
	}
	if f == nft.IPv6 {
		// Connections from ::1 cannot be translated; a socket of the node serves them.
		rules = append(rules, nft.Rule{nft.IsAddr(f, nft.Daddr(), netip.IPv6Loopback()), nft.Return()})
	}
	own, _ := l.key("", 0)
	rules = append(rules, nft.Rule{own, nft.Map(setServices, 0, 0), nft.SetScratch(0), nft.Goto(chainClassify)})
	for _, s := range l.services {
		rules = append(rules, nft.Rule{nft.InPrefix(f, nft.Daddr(), s), nft.Goto(chainRefuse)})
	}
	port, _ := l.key(byPort, 0)
	return append(rules, nft.Rule{nft.ToLocal(), port, nft.Map(byPort+setServices, 0, 0), nft.SetScratch(0), nft.Goto(byPort + chainClassify)})
}

// classify goes to the chain of the class that dispatch found.
func classify(f nft.Family, kind string) nft.Chain {
	class, _ := nft.Load(f, 0, nft.Scratch())
	return nft.Chain{Name: kind + chainClassify, Rules: []nft.Rule{{class, nft.VMap(kind+setClasses, 0)}, {nft.Drop()}}}
}

// rawIn runs before conntrack. The links of pods accept packets addressed to 127.0.0.0/8 (replies to localhost clients need that), so
// whatever comes from a pod with such an address in its header is dropped here.
func (l layout) rawIn() []nft.Rule {
	var rules []nft.Rule
	if l.family == nft.IPv4 {
		loop := netip.MustParsePrefix("127.0.0.0/8")
		rules = append(rules,
			nft.Rule{nft.FromLo(false), nft.InPrefix(l.family, nft.Saddr(), loop), nft.Drop()},
			nft.Rule{nft.FromLo(false), nft.InPrefix(l.family, nft.Daddr(), loop), nft.Drop()})
	}
	return append(rules, l.untrackDNS()...)
}

// untrackDNS keeps questions to the node's own DNS server and its answers out of conntrack.
func (l layout) untrackDNS() []nft.Rule {
	var rules []nft.Rule
	for _, d := range l.dns {
		rules = append(rules,
			nft.Rule{nft.IsAddr(l.family, nft.Daddr(), d), nft.IsPort(l.family, nft.Dport(), 53), nft.Notrack()},
			nft.Rule{nft.IsAddr(l.family, nft.Saddr(), d), nft.IsPort(l.family, nft.Sport(), 53), nft.Notrack()})
	}
	return rules
}

// guard refuses packets to pod addresses that nobody holds. It runs after the destination was chosen, so it also resets connections to
// a pod that has gone. The route alone would answer by ICMP, which is held back after a few.
func (l layout) guard() []nft.Rule {
	// The node's own address is in the range, and the lookup gives no link for local addresses.
	rules := []nft.Rule{{nft.IsAddr(l.family, nft.Daddr(), l.node), nft.Return()}}
	for _, r := range l.cluster {
		rules = append(rules, nft.Rule{nft.InPrefix(l.family, nft.Daddr(), r), nft.NoRoute(), nft.Goto(chainRefuse)})
	}
	return rules
}

// postrouting chooses the source that replies find their way back to. The rules are always there: when the last rule that asks conntrack
// goes, the kernel stops tracking, and all translated connections with it.
func (l layout) postrouting() []nft.Rule {
	f := l.family
	pair, _ := nft.Load(f, 0, nft.Saddr(), nft.Daddr())
	rules := []nft.Rule{
		{nft.ToLo(true), nft.Return()},
		{nft.IsDNATed(), pair, nft.In(setHairpin, 0), nft.SNAT(f, l.node)},
	}
	if f == nft.IPv4 {
		loop := netip.MustParsePrefix("127.0.0.0/8")
		for _, r := range l.cluster {
			rules = append(rules, nft.Rule{nft.IsDNATed(), nft.InPrefix(f, nft.Saddr(), loop), nft.InPrefix(f, nft.Daddr(), r), nft.SNAT(f, l.node)})
		}
	}
	// From outside to another node's pod: the reply must come back through this node.
	elsewhere := append(outside(f, nft.Saddr(), l.cluster), outside(f, nft.Daddr(), l.pods)...)
	for _, r := range l.cluster {
		rules = append(rules, append(append(nft.Rule{nft.IsDNATed()}, elsewhere...), nft.InPrefix(f, nft.Daddr(), r), nft.SNAT(f, l.node)))
	}
	rules = append(rules, append(append(nft.Rule{nft.IsDNATed()}, append(outside(f, nft.Saddr(), l.cluster), outside(f, nft.Daddr(), l.cluster)...)...), nft.Masquerade()))
	// Pods to the world.
	for _, r := range l.pods {
		rules = append(rules, append(append(nft.Rule{nft.InPrefix(f, nft.Saddr(), r)}, outside(f, nft.Daddr(), l.cluster)...), nft.Masquerade()))
	}
	return rules
}

func outside(f nft.Family, fd nft.Field, ranges []netip.Prefix) nft.Rule {
	var r nft.Rule
	for _, p := range ranges {
		r = append(r, nft.NotInPrefix(f, fd, p))
	}
	return r
}

// chains are the two chains of a class, one per kind of key.
func (l layout) chains(c class) []nft.Chain {
	if c.slots == 0 {
		return nil
	}
	var chains []nft.Chain
	for _, kind := range []string{"", byPort} {
		rules := l.spread(c, kind)
		if c.affinity > 0 {
			rules = l.stay(c, kind)
		}
		chains = append(chains, nft.Chain{Name: c.chain(kind), Rules: rules})
	}
	return chains
}

// key loads a key of a kind to at.
func (l layout) key(kind string, at nft.Reg) (nft.Stmt, nft.Reg) {
	if kind == byPort {
		return nft.Load(l.family, at, nft.L4Proto(), nft.Dport())
	}
	return nft.Load(l.family, at, nft.Daddr(), nft.L4Proto(), nft.Dport())
}

// A change is one transaction, but a packet may look at one map just before it and at the next one just after. It then finds no endpoint in
// the slot it drew. Such a packet takes slot 0, which every Service with endpoints has; and should it find nothing even so, it is dropped and sent again:
// if it went on untranslated, conntrack would keep the whole connection so.

// spread sends each connection to a random slot.
func (l layout) spread(c class, kind string) []nft.Rule {
	key, behind := l.key(kind, 0)
	to := func(slots int) nft.Rule {
		slot, _ := nft.Load(l.family, behind, nft.Random(slots))
		return nft.Rule{key, slot, nft.Map(kind+setEndpoints, 0, 0), nft.DNAT(l.family, 0, nft.Reg(l.family.AddrLen()/4))}
	}
	return []nft.Rule{{nft.ClearScratch(0)}, to(c.slots), to(1), {nft.Drop()}}
}

// stay sends a client to the endpoint it had, if that is still one; else it chooses one and remembers its number, which, unlike its slot, never
// changes. Registers: client, key and number in a row, so that client and key are the affinity map's key, key and number that of the others;
// the endpoint comes behind them.
func (l layout) stay(c class, kind string) []nft.Rule {
	f, set := l.family, affinitySet(kind, c.affinity)
	client, keyAt := nft.Load(f, 0, nft.Saddr())
	key, at := l.key(kind, keyAt)
	draw := func(slots int) nft.Rule {
		slot, _ := nft.Load(f, at, nft.Random(slots))
		return nft.Rule{client, key, slot, nft.Map(kind+setStickySlots, keyAt, at), nft.SetScratch(at)}
	}
	number, to := nft.Load(f, at, nft.Scratch())
	send := nft.Rule{
		client, key, number, nft.Map(kind+setStickyEndpoints, keyAt, to), nft.Remember(set, 0, at, c.affinity),
		nft.ClearScratch(0), nft.DNAT(f, to, to+nft.Reg(f.AddrLen()/4)),
	}
	return []nft.Rule{
		{nft.ClearScratch(0)},
		{client, key, nft.Map(set, 0, at), nft.SetScratch(at)}, send,
		{client, key, nft.Forget(set, 0)},
		draw(c.slots), send,
		draw(1), send,
		{nft.Drop()},
	}
}
