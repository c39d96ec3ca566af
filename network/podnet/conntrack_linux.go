package podnet

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Connections to a pod that has gone are known to conntrack for minutes, and packets of the node's own processes would go on towards the gone pod:
// their clients would wait. Without its entry, the next packet is treated as a new connection's: by a Service's rules, which send it to a pod
// that resets it, or refuse it.

// takeDeparted returns the addresses of pods torn down since the last call.
func (n *Net) takeDeparted() map[netip.Addr]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	gone := n.departed
	n.departed = nil
	return gone
}

func (n *Net) depart(ips []netip.Addr) {
	n.mu.Lock()
	if n.departed == nil {
		n.departed = map[netip.Addr]bool{}
	}
	for _, ip := range ips {
		n.departed[ip] = true
	}
	n.mu.Unlock()
	n.signal()
}

// forgetConnections removes what conntrack knows of connections that pods answered which have gone. It is one walk of the kernel's table.
func (n *Net) forgetConnections(gone map[netip.Addr]bool) error {
	h, err := n.openConntrack()
	if err != nil {
		return err
	}
	defer h.Close()
	var errs []error
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, family, answeredBy(gone))
		// An entry that ended by itself between being listed and being deleted is as good.
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (n *Net) openConntrack() (*netlink.Handle, error) {
	if n.cfg.NS == nil {
		return netlink.NewHandle(unix.NETLINK_NETFILTER)
	}
	return netlink.NewHandleAt(vnetns.NsHandle(n.cfg.NS.FD()), unix.NETLINK_NETFILTER)
}

type answeredBy map[netip.Addr]bool

// MatchConntrackFlow implements netlink's filter.
func (gone answeredBy) MatchConntrackFlow(e *netlink.ConntrackFlow) bool {
	ip, ok := netip.AddrFromSlice(e.Reverse.SrcIP)
	return ok && gone[ip.Unmap()]
}
