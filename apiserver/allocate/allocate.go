// Package allocate hands out the addresses and node ports of Services, each to one Service at a time.
//
// What is taken lives in memory and is rebuilt from the stored Services at start, so there is no second record that could
// disagree with them. It stores nothing and knows no HTTP. Start with Services, in services.go; Addresses and Ports are the
// two pools it draws from.
package allocate

import (
	"net/netip"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Addresses is the pool of one range of addresses. It is not safe for concurrent use.
type Addresses struct {
	prefix      netip.Prefix
	first, last netip.Addr // the addresses that may be given
	upper       netip.Addr // where addresses that nobody asked for by name begin
	next        netip.Addr
	taken       map[netip.Addr]bool
}

// NewAddresses returns the pool of a range. The first address and, in IPv4, the last are never given.
func NewAddresses(prefix netip.Prefix) *Addresses {
	prefix = prefix.Masked()
	a := &Addresses{prefix: prefix, first: prefix.Addr().Next(), last: lastOf(prefix), taken: map[netip.Addr]bool{}}
	if prefix.Addr().Is4() && a.last != a.first {
		a.last = a.last.Prev() // the broadcast address
	}
	a.upper = a.first
	for range reserved(prefix) {
		a.upper = a.upper.Next()
	}
	if !prefix.Contains(a.upper) || a.last.Less(a.upper) {
		a.upper = a.first
	}
	a.next = a.upper
	return a
}

// reserved is the size of the lower part of a range, which is given only when the upper is full, so that addresses written
// into files by hand (the cluster's DNS, say) seldom meet one that was given away: a sixteenth, at least 16, at most 256.
func reserved(prefix netip.Prefix) int {
	bits := prefix.Addr().BitLen() - prefix.Bits()
	if bits < 5 {
		return 0
	}
	if bits > 12 {
		return 256
	}
	return max(16, 1<<bits/16)
}

func lastOf(prefix netip.Prefix) netip.Addr {
	raw := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(raw) // the length is that of an address
	return last
}

// Take takes one address by name. The error is of kind Exhausted if it is taken and of kind Invalid if the range does not hold it.
func (a *Addresses) Take(ip netip.Addr) error {
	if !a.prefix.Contains(ip) || ip.Less(a.first) || a.last.Less(ip) {
		return errkind.New(errkind.Invalid, "provided IP is not in the valid range. The range of valid IPs is %s", a.prefix)
	}
	if a.taken[ip] {
		return errkind.New(errkind.Exhausted, "provided IP is already allocated")
	}
	a.taken[ip] = true
	return nil
}

// Next takes any free address. It goes round the range, so that a freed address is not soon another Service's.
func (a *Addresses) Next() (netip.Addr, error) {
	if ip, ok := a.search(a.next, a.last); ok {
		return ip, nil
	}
	if ip, ok := a.search(a.upper, a.next); ok {
		return ip, nil
	}
	if ip, ok := a.search(a.first, a.upper); ok {
		return ip, nil
	}
	return netip.Addr{}, errkind.New(errkind.Exhausted, "range is full")
}

func (a *Addresses) search(from, to netip.Addr) (netip.Addr, bool) {
	for ip := from; ip.IsValid() && !to.Less(ip); ip = ip.Next() {
		if !a.taken[ip] {
			a.taken[ip] = true
			if !ip.Less(a.upper) {
				if a.next = ip.Next(); !a.next.IsValid() || a.last.Less(a.next) {
					a.next = a.upper
				}
			}
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// Release gives an address back; one that is not taken is ignored.
func (a *Addresses) Release(ip netip.Addr) { delete(a.taken, ip) }

// Ports is the pool of node ports. It is not safe for concurrent use.
type Ports struct {
	first, last, upper, next int32
	taken                    map[int32]bool
}

// NewPorts returns the pool of the ports first to last, both included.
func NewPorts(first, last int32) *Ports {
	size := last - first + 1
	low := int32(0)
	if size > 16 {
		low = min(max(16, size/32), 128) // for ports that files name, as with addresses
	}
	return &Ports{first: first, last: last, upper: first + low, next: first + low, taken: map[int32]bool{}}
}

// Take takes one port by number, with the kinds of error that Addresses.Take has.
func (p *Ports) Take(port int32) error {
	if port < p.first || port > p.last {
		return errkind.New(errkind.Invalid, "provided port is not in the valid range. The range of valid ports is %d-%d", p.first, p.last)
	}
	if p.taken[port] {
		return errkind.New(errkind.Exhausted, "provided port is already allocated")
	}
	p.taken[port] = true
	return nil
}

// Next takes any free port, going round the range.
func (p *Ports) Next() (int32, error) {
	for _, part := range [][2]int32{{p.next, p.last}, {p.upper, p.next}, {p.first, p.upper}} {
		for port := part[0]; port <= part[1] && port <= p.last; port++ {
			if p.taken[port] {
				continue
			}
			p.taken[port] = true
			if port >= p.upper {
				if p.next = port + 1; p.next > p.last {
					p.next = p.upper
				}
			}
			return port, nil
		}
	}
	return 0, errkind.New(errkind.Exhausted, "range is full")
}

// Release gives a port back; one that is not taken is ignored.
func (p *Ports) Release(port int32) { delete(p.taken, port) }
