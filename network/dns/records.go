package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// owned is one name with its records, before packing.
type owned struct {
	name    name
	a, aaaa []netip.Addr
	srv     []srv
	ptr     []name
	cname   string // dotted
	txt     string
}

type srv struct {
	port   uint16
	target name
	addrs  []netip.Addr
}

// names lists everything a Service is known by, as the Kubernetes DNS specification has it. Names without records are there so that their
// existence is known. Names that cannot be one (a label too long) are left out.
func (s *Service) names(domain name) []owned {
	if !fits(s.Namespace) {
		return nil
	}
	ns := domain.under("svc").under(s.Namespace)
	all := []owned{{name: ns}}
	for i, n := range append([]string{s.Name}, s.Aliases...) {
		if !fits(n) {
			continue
		}
		// Addresses lead back to the Service's own name only.
		self, main := ns.under(n), i == 0
		switch {
		case s.ExternalName != "":
			all = append(all, owned{name: self, cname: s.ExternalName})
		case len(s.ClusterIPs) > 0:
			all = append(all, s.clusterNames(self, main)...)
		default:
			all = append(all, s.headlessNames(self, main)...)
		}
	}
	return all
}

func fits(label string) bool { return label != "" && len(label) < 64 && !strings.Contains(label, ".") }

func (s *Service) clusterNames(self name, main bool) []owned {
	all := []owned{{name: self}}
	all[0].a, all[0].aaaa = split(s.ClusterIPs)
	if main {
		all = append(all, reverse(s.ClusterIPs, self)...)
	}
	for _, p := range s.Ports {
		all = append(all, srvNames(self, p, srv{port: p.Port, target: self, addrs: s.ClusterIPs})...)
	}
	return all
}

func (s *Service) headlessNames(self name, main bool) []owned {
	all := []owned{{name: self}}
	var addrs []netip.Addr
	for _, e := range s.Endpoints {
		addrs = append(addrs, e.Addr)
		own := self.under(e.label())
		pod := owned{name: own}
		pod.a, pod.aaaa = split([]netip.Addr{e.Addr})
		all = append(all, pod)
		if main {
			all = append(all, reverse([]netip.Addr{e.Addr}, own)...)
		}
		for _, p := range e.Ports {
			all = append(all, srvNames(self, p, srv{port: p.Port, target: own, addrs: []netip.Addr{e.Addr}})...)
		}
	}
	all[0].a, all[0].aaaa = split(addrs)
	return all
}

// label is the endpoint's own name below its Service.
func (e Endpoint) label() string {
	if fits(e.Hostname) {
		return e.Hostname
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(e.Addr.String())
}

// srvNames are _port._protocol.service, and the empty name between.
func srvNames(self name, p Port, r srv) []owned {
	if !fits(p.Name) || len(p.Name) > 62 {
		return nil
	}
	proto := self.under("_" + p.Protocol)
	return []owned{{name: proto}, {name: proto.under("_" + p.Name), srv: []srv{r}}}
}

func split(addrs []netip.Addr) (v4, v6 []netip.Addr) {
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	return v4, v6
}

func reverse(addrs []netip.Addr, to name) []owned {
	var all []owned
	for _, a := range addrs {
		all = append(all, owned{name: reverseName(a), ptr: []name{to}})
	}
	return all
}

// reverseName is the name under which an address is asked for.
func reverseName(a netip.Addr) name {
	if a.Is4() {
		n := root.under("arpa").under("in-addr")
		for _, b := range a.As4() {
			n = n.under(strconv.Itoa(int(b)))
		}
		return n
	}
	n := root.under("arpa").under("ip6")
	const digits = "0123456789abcdef"
	for _, b := range a.As16() {
		n = n.under(digits[b>>4 : b>>4+1]).under(digits[b&15 : b&15+1])
	}
	return n
}

// reversed reads the address back out of such a name; fewer labels than an address has give the range they name.
func reversed(n name) (netip.Prefix, bool) {
	if labels, ok := n.labels(root.under("arpa").under("in-addr")); ok && len(labels) <= 4 {
		var b [4]byte
		slices.Reverse(labels)
		for i, l := range labels {
			v, err := strconv.ParseUint(l, 10, 8)
			if err != nil {
				return netip.Prefix{}, false
			}
			b[i] = byte(v)
		}
		return netip.PrefixFrom(netip.AddrFrom4(b), 8*len(labels)), true
	}
	if labels, ok := n.labels(root.under("arpa").under("ip6")); ok && len(labels) <= 32 {
		var b [16]byte
		slices.Reverse(labels)
		for i, l := range labels {
			v, err := strconv.ParseUint(l, 16, 4)
			if err != nil || len(l) != 1 {
				return netip.Prefix{}, false
			}
			b[i/2] |= byte(v) << (4 * (1 - i%2))
		}
		return netip.PrefixFrom(netip.AddrFrom16(b), 4*len(labels)), true
	}
	return netip.Prefix{}, false
}

// podAddr reads the address out of a pod's name: 10-42-0-5.namespace.pod.domain.
func podAddr(n, domain name) (netip.Addr, bool) {
	labels, ok := n.labels(domain.under("pod"))
	if !ok || len(labels) != 2 {
		return netip.Addr{}, false
	}
	for _, sep := range []string{".", ":"} {
		if a, err := netip.ParseAddr(strings.ReplaceAll(labels[0], "-", sep)); err == nil {
			return a, true
		}
	}
	return netip.Addr{}, false
}
