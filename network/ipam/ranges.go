package ipam

import (
	"net/netip"
	"slices"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// candidates are the pairs of ranges that Choose tries, in order: first what most clusters use, then other corners of
// the private space, last the benchmarking range that no local network should route.
var candidates = []Ranges{
	pair("10.42.0.0/16", "10.43.0.0/16"),
	pair("10.142.0.0/16", "10.143.0.0/16"),
	pair("10.212.0.0/16", "10.213.0.0/16"),
	pair("172.28.0.0/16", "172.29.0.0/16"),
	pair("172.22.0.0/16", "172.23.0.0/16"),
	pair("192.168.192.0/19", "192.168.224.0/19"),
	pair("100.96.0.0/16", "100.97.0.0/16"),
	pair("198.18.0.0/16", "198.19.0.0/16"),
}

// Ranges are a cluster's pod and Service ranges.
type Ranges struct{ Pods, Services netip.Prefix }

func pair(pods, services string) Ranges {
	return Ranges{Pods: netip.MustParsePrefix(pods), Services: netip.MustParsePrefix(services)}
}

// Choose returns the first pair of default ranges that overlaps none of the prefixes the host routes or holds. Default routes
// (/0) overlap everything and are left out of account.
func Choose(host []netip.Prefix) (Ranges, error) {
	for _, c := range candidates {
		if Overlap(c.Pods, host) == (netip.Prefix{}) && Overlap(c.Services, host) == (netip.Prefix{}) {
			return c, nil
		}
	}
	return Ranges{}, errkind.New(errkind.Exhausted,
		"choose pod and Service ranges: all default ranges overlap routes of this host: name free ranges with --cluster-cidr and --service-cidr")
}

// Overlap returns the first of the host's prefixes that overlaps p, or the zero Prefix.
func Overlap(p netip.Prefix, host []netip.Prefix) netip.Prefix {
	at := slices.IndexFunc(host, func(h netip.Prefix) bool { return h.Bits() > 0 && h.Overlaps(p) })
	if at < 0 {
		return netip.Prefix{}
	}
	return host[at]
}

// NodeRange is the first subrange of a cluster's pod range: what a single node uses.
func NodeRange(pods netip.Prefix, bits int) netip.Prefix {
	if bits < pods.Bits() {
		bits = pods.Bits()
	}
	return netip.PrefixFrom(pods.Masked().Addr(), bits)
}
