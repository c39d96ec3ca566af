package dns

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// verdict says who answers a question.
type verdict int

const (
	answered  verdict = iota
	elsewhere         // a name that is none of ours
	chase             // a name of ours that stands for another one
)

// local answers a question about the cluster's names into out, no longer than limit.
func (z *Zone) local(q *question, out []byte, limit int, own []netip.Prefix) ([]byte, verdict) {
	if q.class != classIN && q.class != classANY {
		return q.fail(out, rcodeRefused), answered
	}
	e := z.find(q.name)
	if e == nil {
		return z.missing(q, out, limit, own)
	}
	if e.cname != "" {
		return out, chase
	}
	set := e.set(q.typ)
	out = q.answer(out, rcodeOK)
	out[2] |= flagAuthority
	if set == nil || set.count() == 0 {
		out = z.soa(q, out)
		return q.finish(out, rcodeOK), answered
	}
	out = set.appendTo(out, limit-q.reserve())
	return q.finish(out, rcodeOK), answered
}

func (e *entry) set(typ uint16) *rrset {
	switch typ {
	case typeA, typeANY:
		return &e.a
	case typeAAAA:
		return &e.aaaa
	case typeSRV:
		return &e.srv
	case typePTR:
		return &e.ptr
	case typeTXT:
		return &e.txt
	}
	return nil
}

func (q *question) reserve() int {
	if q.edns {
		return optLen
	}
	return 0
}

// appendTo adds the records, from a random one on, as many as there is room for, and says so if not all had room: clients that cannot or do not ask
// again by TCP use what they got.
func (s *rrset) appendTo(out []byte, limit int) []byte {
	start := 0
	if s.size > 0 && s.count() > 1 {
		start = rand.IntN(s.count())
	}
	n := 0
	room := limit - len(out)
	if len(s.packed) <= room {
		from := start * s.size
		out = append(append(out, s.packed[from:]...), s.packed[:from]...)
		n = s.count()
	} else {
		for ; n < s.count(); n++ {
			i := (start + n) % s.count()
			begin := 0
			if i > 0 {
				begin = s.ends[i-1]
			}
			if len(out)+s.ends[i]-begin > limit {
				break
			}
			out = append(out, s.packed[begin:s.ends[i]]...)
		}
		out[2] |= flagTruncated
	}
	binary.BigEndian.PutUint16(out[6:], uint16(n))
	if s.extraCount > 0 && len(out)+len(s.extra) <= limit && n == s.count() {
		out = append(out, s.extra...)
		binary.BigEndian.PutUint16(out[10:], uint16(s.extraCount))
	}
	return out
}

// soa says in the authority section that the zone has nothing of the kind, and for how long that holds.
func (z *Zone) soa(q *question, out []byte) []byte {
	owner := []byte(z.domain)
	zone := z.domain
	if len(q.name) >= len(z.domain) && name(q.name[len(q.name)-len(z.domain):]) == z.domain {
		at := questionStart + len(q.name) - len(z.domain)
		owner = []byte{0xc0 | byte(at>>8), byte(at)}
	}
	out = rr(out, owner, typeSOA, TTL, soaData(zone))
	binary.BigEndian.PutUint16(out[8:], 1)
	return out
}

// missing answers for names that the zone does not have.
func (z *Zone) missing(q *question, out []byte, limit int, own []netip.Prefix) ([]byte, verdict) {
	n := name(q.name)
	_, inDomain := n.labels(z.domain)
	if !inDomain {
		p, ok := reversed(n)
		if !ok || !slices.ContainsFunc(own, func(r netip.Prefix) bool { return p.Bits() >= r.Bits() && r.Contains(p.Addr()) }) {
			return out, elsewhere
		}
	}
	if a, ok := podAddr(n, z.domain); ok {
		out = q.answer(out, rcodeOK)
		out[2] |= flagAuthority
		if q.typ == addrType(a) {
			set := packAddrs([]netip.Addr{a})
			return q.finish(set.appendTo(out, limit-q.reserve()), rcodeOK), answered
		}
		return q.finish(z.soa(q, out), rcodeOK), answered
	}
	out = q.answer(out, rcodeNoName)
	out[2] |= flagAuthority
	return q.finish(z.soa(q, out), rcodeNoName), answered
}
