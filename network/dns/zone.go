package dns

import (
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// shards bounds what one change copies: each shard is a map that is replaced whole, so that readers take no lock.
const shards = 256

// Zone is the cluster's names, packed. Lookups never wait; changes are serialised.
type Zone struct {
	domain name
	seed   maphash.Seed
	table  [shards]atomic.Pointer[map[name]*entry]

	changed chan struct{} // holds a token after a change, for Keep

	mu       sync.Mutex
	services map[string]*Service
	owners   map[name]map[string]owned // what each Service contributes to a name
}

// NewZone returns an empty zone for a domain such as cluster.local.
func NewZone(domain string) (*Zone, error) {
	n, err := parseName(domain)
	if err != nil {
		return nil, err
	}
	z := &Zone{domain: n, seed: maphash.MakeSeed(), changed: make(chan struct{}, 1), services: map[string]*Service{}, owners: map[name]map[string]owned{}}
	for i := range z.table {
		z.table[i].Store(&map[name]*entry{})
	}
	z.apply([]owned{{name: n}, {name: n.under("svc")}, {name: n.under("pod")}, {name: n.under("dns-version"), txt: "1.1.0"}})
	return z, nil
}

// apply enters names that belong to no Service.
func (z *Zone) apply(names []owned) {
	changed := map[name]bool{}
	for _, o := range names {
		z.contribute("", o)
		changed[o.name] = !o.empty()
	}
	z.publish(changed)
}

func (z *Zone) contribute(key string, o owned) {
	if z.owners[o.name] == nil {
		z.owners[o.name] = map[string]owned{}
	}
	z.owners[o.name][key] = z.owners[o.name][key].and(o)
}

// empty says that a contribution only makes the name exist.
func (o owned) empty() bool {
	return len(o.a)+len(o.aaaa)+len(o.srv)+len(o.ptr) == 0 && o.cname == "" && o.txt == ""
}

// and joins two contributions to one name.
func (o owned) and(more owned) owned {
	o.name = more.name
	o.a = append(slices.Clone(o.a), more.a...)
	o.aaaa = append(slices.Clone(o.aaaa), more.aaaa...)
	o.srv = append(slices.Clone(o.srv), more.srv...)
	o.ptr = append(slices.Clone(o.ptr), more.ptr...)
	if more.cname != "" {
		o.cname = more.cname
	}
	if more.txt != "" {
		o.txt = more.txt
	}
	return o
}

// Update changes Services by their keys; nil removes one. With reset, all Services that changes does not name go. The error is always
// nil; it is there because the zone may also be that of another process (see Remote).
func (z *Zone) Update(changes map[string]*Service, reset bool) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	if reset {
		all := map[string]*Service{}
		maps.Copy(all, changes)
		changes = all
		for key := range z.services {
			if _, named := changes[key]; !named {
				changes[key] = nil
			}
		}
	}
	z.set(changes)
	select {
	case z.changed <- struct{}{}:
	default:
	}
	return nil
}

func (z *Zone) set(changes map[string]*Service) {
	changed := map[name]bool{}
	for _, key := range slices.Sorted(maps.Keys(changes)) {
		svc := changes[key]
		if old := z.services[key]; old != nil {
			for _, o := range old.names(z.domain) {
				delete(z.owners[o.name], key)
				changed[o.name] = changed[o.name] || !o.empty()
			}
			delete(z.services, key)
		}
		if svc != nil {
			z.services[key] = svc
			for _, o := range svc.names(z.domain) {
				z.contribute(key, o)
				changed[o.name] = changed[o.name] || !o.empty()
			}
		}
	}
	z.publish(changed)
}

// Services returns all Services by key.
func (z *Zone) Services() map[string]*Service {
	z.mu.Lock()
	defer z.mu.Unlock()
	return maps.Clone(z.services)
}

// publish packs the changed names anew and replaces their shards. Names of which nothing but the set of owners changed (changed is false) stay as they
// are: a namespace's name belongs to all its Services.
func (z *Zone) publish(changed map[name]bool) {
	byShard := map[int][]name{}
	for n := range changed {
		at := z.shard(n)
		byShard[at] = append(byShard[at], n)
	}
	for at, names := range byShard {
		table := maps.Clone(*z.table[at].Load())
		for _, n := range names {
			if len(z.owners[n]) == 0 {
				delete(z.owners, n)
				delete(table, n)
				continue
			}
			if changed[n] || table[n] == nil {
				table[n] = z.pack(n)
			}
		}
		z.table[at].Store(&table)
	}
}

func (z *Zone) shard(n name) int { return int(maphash.String(z.seed, string(n)) % shards) }

// find returns the entry of a lower-cased name, or nil.
func (z *Zone) find(n []byte) *entry {
	at := maphash.Bytes(z.seed, n) % shards
	return (*z.table[at].Load())[name(n)]
}

// entry is a name's records, packed as answer sections. The owner is a pointer to the question, so that one form serves any spelling.
type entry struct {
	a, aaaa, srv, ptr, txt rrset
	cname                  name // the name stands for this one
}

// rrset is records of one type. Sets of addresses may be handed out from any one on, in turn.
type rrset struct {
	packed []byte
	size   int // of each record, if all are alike; else 0
	ends   []int
	// extra goes into the additional section when there is room.
	extra      []byte
	extraCount int
}

func (s *rrset) add(rr []byte) {
	s.packed = append(s.packed, rr...)
	s.ends = append(s.ends, len(s.packed))
}

func (s *rrset) count() int { return len(s.ends) }

// pack makes a name's entry from all contributions to it, in a stable order.
func (z *Zone) pack(n name) *entry {
	var all owned
	for _, key := range slices.Sorted(maps.Keys(z.owners[n])) {
		all = all.and(z.owners[n][key])
	}
	e := &entry{}
	if all.cname != "" {
		// A target that is no domain name leaves a name without records, which is the truth.
		if target, err := parseName(all.cname); err == nil {
			e.cname = target
		}
	}
	e.a = packAddrs(all.a)
	e.aaaa = packAddrs(all.aaaa)
	for _, p := range distinct(all.ptr) {
		e.ptr.add(rr(nil, toQuestion(), typePTR, TTL, []byte(p)))
	}
	for _, s := range all.srv {
		e.srv.add(rr(nil, toQuestion(), typeSRV, TTL, srvData(s.port, s.target)))
		for _, a := range s.addrs {
			e.srv.extra = rr(e.srv.extra, []byte(s.target), addrType(a), TTL, a.AsSlice())
			e.srv.extraCount++
		}
	}
	if all.txt != "" {
		e.txt.add(rr(nil, toQuestion(), typeTXT, TTL, append([]byte{byte(len(all.txt))}, all.txt...)))
	}
	return e
}

func packAddrs(addrs []netip.Addr) rrset {
	var s rrset
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, a := range slices.Compact(addrs) {
		r := rr(nil, toQuestion(), addrType(a), TTL, a.AsSlice())
		s.size = len(r)
		s.add(r)
	}
	return s
}

func distinct(names []name) []name {
	slices.Sort(names)
	return slices.Compact(names)
}
