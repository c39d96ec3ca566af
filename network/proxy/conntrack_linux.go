package proxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/network/nft"
)

// cleaning is conntrack work to do after a commit.
type cleaning struct {
	changed map[nft.Family]flows
	// all, after the whole table was loaded, are the flows there are: of their ports, entries that lead elsewhere are stale.
	all map[nft.Family]map[flow]bool
}

type flows struct{ gone, opened map[flow]bool }

func setOf(list []flow) map[flow]bool {
	set := make(map[flow]bool, len(list))
	for _, f := range list {
		set[f] = true
	}
	return set
}

// clean hands the work to Run: walking the kernel's table takes milliseconds that no change should wait for.
func (p *Proxy) clean(c cleaning) {
	select {
	case p.work <- c:
	default:
		// Run is far behind or not running; do it here rather than never.
		p.forget(c)
	}
}

func (p *Proxy) forget(c cleaning) {
	if err := p.walk(c); err != nil {
		p.cfg.Log.Error("remove stale conntrack entries", "err", err)
	}
}

func (p *Proxy) walk(c cleaning) error {
	h, err := p.openConntrack()
	if err != nil {
		return fmt.Errorf("open conntrack: %w", err)
	}
	defer h.Close()
	var errs []error
	for f, fl := range c.changed {
		errs = append(errs, drop(h, f, fl))
	}
	for f, all := range c.all {
		if len(all) > 0 {
			errs = append(errs, drop(h, f, inventory(all)))
		}
	}
	return errors.Join(errs...)
}

func (p *Proxy) openConntrack() (*netlink.Handle, error) {
	if p.cfg.NS == nil {
		return netlink.NewHandle(unix.NETLINK_NETFILTER)
	}
	return netlink.NewHandleAt(vnetns.NsHandle(p.cfg.NS.FD()), unix.NETLINK_NETFILTER)
}

func drop(h *netlink.Handle, f nft.Family, which netlink.CustomConntrackFilter) error {
	family := netlink.InetFamily(unix.AF_INET)
	if f == nft.IPv6 {
		family = unix.AF_INET6
	}
	_, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, family, which)
	// An entry that ended by itself between being listed and being deleted is as good.
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// MatchConntrackFlow implements netlink's filter: entries that lead to a gone endpoint, and entries that were
// made before their port was opened.
func (fl flows) MatchConntrackFlow(e *netlink.ConntrackFlow) bool {
	asked, answered := ends(e)
	for _, head := range heads(e, asked) {
		to := head
		to.endpoint = answered
		if answered != asked && fl.gone[to] || answered == asked && fl.opened[head] {
			return true
		}
	}
	return false
}

// inventory picks the entries of known ports that lead to none of their endpoints.
type inventory map[flow]bool

// MatchConntrackFlow implements netlink's filter.
func (all inventory) MatchConntrackFlow(e *netlink.ConntrackFlow) bool {
	asked, answered := ends(e)
	for _, head := range heads(e, asked) {
		to := head
		to.endpoint = answered
		if all[head] && !all[to] {
			return true
		}
	}
	return false
}

func ends(e *netlink.ConntrackFlow) (asked, answered netip.AddrPort) {
	return addrPort(e.Forward.DstIP, e.Forward.DstPort), addrPort(e.Reverse.SrcIP, e.Reverse.SrcPort)
}

// heads are the flows, without an endpoint, that an entry may belong to: by its address, and by its port alone.
func heads(e *netlink.ConntrackFlow, asked netip.AddrPort) [2]flow {
	f := flow{protocol: Protocol(e.Forward.Protocol), port: asked.Port()}
	byAddr := f
	byAddr.addr = asked.Addr()
	return [2]flow{byAddr, f}
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}
