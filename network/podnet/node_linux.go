package podnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/ipam"
	"github.com/cuppa-project/cuppa/network/netns"
)

// RouteProtocol marks the routes that are ours, so that they are found again and nobody else's are touched.
const RouteProtocol = 67

// unreachableMetric is worse than that of any other route for the same range.
const unreachableMetric = 1 << 30

func nodeAddrs(ranges []netip.Prefix) []netip.Addr {
	var addrs []netip.Addr
	for _, r := range ranges {
		addrs = append(addrs, ipam.NodeAddr(r))
	}
	return addrs
}

// prepare makes the node itself fit to have pods. It does its work once, and again after an error.
func (n *Net) prepare() error {
	n.prepareMu.Lock()
	defer n.prepareMu.Unlock()
	if n.prepared {
		return nil
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"make directories", n.makeDirs},
		{"set kernel settings", func() error { return n.cfg.NS.Do(n.nodeSysctls) }},
		{"find the uplink's packet size", n.findMTU},
		{"add the node's addresses", n.addNodeAddrs},
		{"add the node's routes", n.addNodeRoutes},
		{"restore the pods' routes", n.restorePods},
		{"take over ready namespaces", n.adoptReady},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
				return errkind.New(errkind.Denied, "prepare pod network: %s: %w (root, or CAP_NET_ADMIN, is needed)", s.what, err)
			}
			return fmt.Errorf("prepare pod network: %s: %w", s.what, err)
		}
	}
	n.prepared = true
	return nil
}

func (n *Net) makeDirs() error {
	for _, dir := range []string{n.nsDir(), n.recordDir()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return err
		}
	}
	return nil
}

func (n *Net) nodeSysctls() error {
	for _, r := range n.cfg.PodCIDRs {
		if r.Addr().Is4() {
			if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
				return err
			}
			continue
		}
		if err := forwardIPv6(); err != nil {
			return err
		}
	}
	return nil
}

// forwardIPv6 switches forwarding on without losing routes that the host learned from router advertisements, which a
// forwarding host ignores unless told otherwise.
func forwardIPv6() error {
	const conf = "/proc/sys/net/ipv6/conf"
	if now, err := os.ReadFile(conf + "/all/forwarding"); err == nil && strings.TrimSpace(string(now)) == "1" {
		return nil
	}
	links, err := os.ReadDir(conf)
	if err != nil {
		return err
	}
	for _, l := range links {
		ra, err := os.ReadFile(conf + "/" + l.Name() + "/accept_ra")
		if err == nil && strings.TrimSpace(string(ra)) == "1" {
			if err := setSysctl("net/ipv6/conf/"+l.Name()+"/accept_ra", "2"); err != nil {
				return err
			}
		}
	}
	return setSysctl("net/ipv6/conf/all/forwarding", "1")
}

// findMTU takes the smallest MTU of the links that default routes leave by.
func (n *Net) findMTU() error {
	n.mtu = n.cfg.MTU
	if n.mtu == 0 {
		uplinks, err := n.uplinks()
		if err != nil {
			return err
		}
		for _, l := range uplinks {
			if n.mtu == 0 || l.Attrs().MTU < n.mtu {
				n.mtu = l.Attrs().MTU
			}
		}
	}
	if n.mtu == 0 {
		n.mtu = 1500
	}
	n.mtu -= n.cfg.Overhead
	if n.mtu < 576 {
		return errkind.New(errkind.Invalid, "an MTU of %d is too small for IP", n.mtu)
	}
	return nil
}

func (n *Net) uplinks() ([]netlink.Link, error) {
	var links []netlink.Link
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := n.h.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_DST)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if r.LinkIndex == 0 || r.Type != unix.RTN_UNICAST {
				continue
			}
			link, err := n.h.LinkByIndex(r.LinkIndex)
			if err != nil {
				return nil, err
			}
			if link.Attrs().Flags&net.FlagLoopback == 0 {
				links = append(links, link)
			}
		}
	}
	return links, nil
}

// addNodeAddrs puts the node's own pod-side addresses on lo, and those it answers on (DNS) with scope host, which keeps the kernel
// from choosing them as a source.
func (n *Net) addNodeAddrs() error {
	lo, err := n.h.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := n.h.LinkSetUp(lo); err != nil {
		return err
	}
	for _, a := range n.loAddrs() {
		if err := n.h.AddrReplace(lo, a); err != nil {
			return fmt.Errorf("add %s to lo: %w", a.IP, err)
		}
	}
	return nil
}

func (n *Net) loAddrs() []*netlink.Addr {
	var addrs []*netlink.Addr
	for _, ip := range nodeAddrs(n.cfg.PodCIDRs) {
		addrs = append(addrs, &netlink.Addr{IPNet: single(ip), Flags: unix.IFA_F_NODAD})
	}
	for _, ip := range n.cfg.LocalAddrs {
		addrs = append(addrs, &netlink.Addr{IPNet: single(ip), Flags: unix.IFA_F_NODAD, Scope: unix.RT_SCOPE_HOST})
	}
	return addrs
}

// addNodeRoutes makes pod addresses that nobody holds unreachable, and leads Service addresses to the output hook: a route of
// type unreachable would refuse packets of the node's own processes before any rule sees them.
func (n *Net) addNodeRoutes() error {
	for _, r := range n.cfg.ClusterCIDRs {
		route := &netlink.Route{Dst: network(r), Type: unix.RTN_UNREACHABLE, Protocol: RouteProtocol, Priority: unreachableMetric}
		if err := n.h.RouteReplace(route); err != nil {
			return fmt.Errorf("make %s unreachable: %w", r, err)
		}
	}
	lo, err := n.h.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, r := range n.cfg.ServiceCIDRs {
		route := &netlink.Route{Dst: network(r), LinkIndex: lo.Attrs().Index, Protocol: RouteProtocol}
		if r.Addr().Is4() {
			route.Scope = netlink.SCOPE_LINK
		}
		for _, own := range nodeAddrs(n.cfg.PodCIDRs) {
			if own.Is4() == r.Addr().Is4() {
				route.Src = own.AsSlice()
			}
		}
		if err := n.h.RouteReplace(route); err != nil {
			return fmt.Errorf("route %s: %w", r, err)
		}
	}
	return nil
}

func network(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// restorePods makes the routes of pods whose namespaces live as they should be; after a plain restart they are.
func (n *Net) restorePods() error {
	for _, id := range n.Pods() {
		rec, _ := n.record(id)
		if !netns.IsNamespace(rec.NetNS) {
			continue
		}
		if err := n.routeTo(rec.Link, rec.IPs); err != nil {
			// The pod lost its link; its owner finds that out by its own means, the others must live.
			n.cfg.Log.Error("restore routes of pod", "pod", rec.Namespace+"/"+rec.Name, "err", err)
		}
	}
	return nil
}

// HostPrefixes returns all prefixes that the host routes or holds, other than our own: what default ranges must not overlap.
func HostPrefixes(ns *netns.NS) ([]netip.Prefix, error) {
	h, err := openHandle(ns)
	if err != nil {
		return nil, fmt.Errorf("read host routes: %w", err)
	}
	defer h.Close()
	routes, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("read host routes: %w", err)
	}
	var all []netip.Prefix
	for _, r := range routes {
		local := r.Type == unix.RTN_LOCAL || r.Type == unix.RTN_BROADCAST || r.Type == unix.RTN_ANYCAST || r.Type == unix.RTN_MULTICAST
		if r.Dst != nil && r.Protocol != RouteProtocol && !local {
			all = append(all, toPrefix(r.Dst))
		}
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("read host addresses: %w", err)
	}
	for _, a := range addrs {
		// A single address on lo may be our own of an earlier run, and routes nothing.
		if ones, bits := a.Mask.Size(); ones < bits {
			all = append(all, toPrefix(a.IPNet))
		}
	}
	return all, nil
}

func toPrefix(n *net.IPNet) netip.Prefix {
	ip, _ := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if bits == 32 {
		ip = ip.Unmap()
	}
	return netip.PrefixFrom(ip, ones).Masked()
}

// Cleanup removes everything: pods, ready namespaces, links, routes, addresses and files. It is for taking the node away, not for stopping
// the process.
func (n *Net) Cleanup() error {
	n.prepareMu.Lock()
	defer n.prepareMu.Unlock()
	n.prepared = false
	var errs []error
	for _, id := range n.Pods() {
		errs = append(errs, n.teardown(id))
	}
	n.mu.Lock()
	ready := n.ready
	n.ready = nil
	n.mu.Unlock()
	for _, e := range ready {
		n.drop(e)
	}
	strays, err := n.strays()
	errs = append(errs, err)
	for _, path := range strays {
		n.dropNamespace(path)
	}
	errs = append(errs, n.removeRoutes(), n.removeNodeAddrs(), n.removeLinks())
	for _, dir := range []string{n.nsDir(), n.recordDir()} {
		if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up pod network: %w", err)
	}
	return nil
}

func (n *Net) removeRoutes() error {
	var errs []error
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := n.h.RouteListFiltered(family, &netlink.Route{Protocol: RouteProtocol}, netlink.RT_FILTER_PROTOCOL)
		errs = append(errs, err)
		for _, r := range routes {
			if err := n.h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("remove route to %s: %w", r.Dst, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (n *Net) removeNodeAddrs() error {
	lo, err := n.h.LinkByName("lo")
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range n.loAddrs() {
		if err := n.h.AddrDel(lo, a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("remove %s from lo: %w", a.IP, err))
		}
	}
	return errors.Join(errs...)
}

// removeLinks waits for the kernel to take the links of the released namespaces away, and deletes those that a process which still lives
// in its namespace keeps.
func (n *Net) removeLinks() error {
	deadline := time.Now().Add(time.Second)
	for {
		links, err := n.ourLinks()
		if err != nil || len(links) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			var errs []error
			for _, l := range links {
				if err := n.h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
					errs = append(errs, fmt.Errorf("remove link %s: %w", l.Attrs().Name, err))
				}
			}
			return errors.Join(errs...)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (n *Net) ourLinks() ([]netlink.Link, error) {
	all, err := n.h.LinkList()
	if err != nil {
		return nil, err
	}
	var ours []netlink.Link
	for _, l := range all {
		name := l.Attrs().Name
		if _, err := podMAC(n.cfg.LinkPrefix, name); err == nil && l.Type() == "veth" && strings.HasPrefix(name, n.cfg.LinkPrefix) {
			ours = append(ours, l)
		}
	}
	return ours, nil
}
