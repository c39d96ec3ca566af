package podnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/netns"
)

// The gateways that pods see. No node holds these addresses: a permanent neighbour entry in the pod leads to the host side.
var (
	gateway4 = netip.MustParseAddr("169.254.1.1")
	gateway6 = netip.MustParseAddr("fe80::1")
)

// hostMAC is the hardware address of every host side. Links are point to point, so it need not be unique.
func hostMAC() net.HardwareAddr { return net.HardwareAddr{0x02, 0x63, 0x75, 0x70, 0x70, 0x61} }

// podLink is the link's name inside the pod.
const podLink = "eth0"

var errNotWhole = errors.New("the namespace is not whole")

func openHandle(ns *netns.NS) (*netlink.Handle, error) {
	if ns == nil {
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	return netlink.NewHandleAt(vnetns.NsHandle(ns.FD()), unix.NETLINK_ROUTE)
}

// furnish makes the entry's link and does everything that does not depend on addresses.
func (n *Net) furnish(e *entry, ns *netns.NS) error {
	mac, err := podMAC(n.cfg.LinkPrefix, e.link)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = e.link, n.mtu, hostMAC()
	err = n.h.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: podLink, PeerHardwareAddr: mac, PeerMTU: uint32(n.mtu), PeerNamespace: netlink.NsFd(ns.FD()),
	})
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return errkind.New(errkind.Denied, "make link %s: %w (root, or CAP_NET_ADMIN, is needed)", e.link, err)
		}
		return fmt.Errorf("make link %s: %w", e.link, err)
	}
	if err := n.furnishHost(e); err != nil {
		return err
	}
	if err := ns.Do(podSysctls); err != nil {
		return err
	}
	if e.pod, err = openHandle(ns); err != nil {
		return err
	}
	return n.furnishPod(e)
}

func (n *Net) furnishHost(e *entry) error {
	err := n.cfg.NS.Do(func() error {
		// Replies to connections from 127.0.0.1 come in by this link; the proxy's tables keep anything else addressed to 127.0.0.0/8 out.
		if err := setSysctl("net/ipv4/conf/"+e.link+"/route_localnet", "1"); err != nil {
			return err
		}
		if err := setSysctl("net/ipv4/conf/"+e.link+"/send_redirects", "0"); err != nil {
			return err
		}
		return quietIPv6(e.link)
	})
	if err != nil {
		return err
	}
	link, err := n.h.LinkByName(e.link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", e.link, err)
	}
	if err := n.h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link %s up: %w", e.link, err)
	}
	return nil
}

// podSysctls runs inside the pod's namespace. Pods may bind low ports and ping without privileges, as with other engines.
func podSysctls() error {
	if err := setSysctl("net/ipv4/ip_unprivileged_port_start", "0"); err != nil {
		return err
	}
	if err := setSysctl("net/ipv4/ping_group_range", "0 2147483647"); err != nil {
		return err
	}
	return quietIPv6(podLink)
}

// quietIPv6 keeps a link from making addresses, soliciting routers and probing for duplicates by itself.
func quietIPv6(link string) error {
	if _, err := os.Stat("/proc/sys/net/ipv6/conf"); err != nil {
		return nil
	}
	for _, kv := range [][2]string{{"addr_gen_mode", "1"}, {"accept_ra", "0"}, {"accept_dad", "0"}} {
		if err := setSysctl("net/ipv6/conf/"+link+"/"+kv[0], kv[1]); err != nil {
			return err
		}
	}
	return nil
}

func (n *Net) furnishPod(e *entry) error {
	for _, name := range []string{"lo", podLink} {
		link, err := e.pod.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s in pod namespace: %w", name, err)
		}
		if err := e.pod.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up in pod namespace: %w", name, err)
		}
		if name == podLink {
			return n.routePod(e, link)
		}
	}
	return nil
}

// routePod adds the way out of the pod, for every family it has addresses of.
func (n *Net) routePod(e *entry, link netlink.Link) error {
	at := link.Attrs().Index
	for _, prefix := range n.cfg.PodCIDRs {
		gw, family := gateway(prefix.Addr())
		neigh := &netlink.Neigh{
			LinkIndex: at, Family: family, State: netlink.NUD_PERMANENT, IP: gw.AsSlice(), HardwareAddr: hostMAC(),
		}
		if err := e.pod.NeighSet(neigh); err != nil {
			return fmt.Errorf("add gateway to pod namespace: %w", err)
		}
		route := &netlink.Route{LinkIndex: at, Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK), Dst: everything(family)}
		if err := e.pod.RouteReplace(route); err != nil {
			return fmt.Errorf("add default route to pod namespace: %w", err)
		}
	}
	return nil
}

func gateway(of netip.Addr) (netip.Addr, int) {
	if of.Is4() {
		return gateway4, unix.AF_INET
	}
	return gateway6, unix.AF_INET6
}

func everything(family int) *net.IPNet {
	size := net.IPv4len
	if family == unix.AF_INET6 {
		size = net.IPv6len
	}
	return &net.IPNet{IP: make(net.IP, size), Mask: make(net.IPMask, size)}
}

// attach gives the entry the pod's addresses and makes the node route them. All steps may be repeated.
func (n *Net) attach(e *entry, ips []netip.Addr) error {
	if err := n.openPod(e); err != nil {
		return err
	}
	inner, err := e.pod.LinkByName(podLink)
	if err != nil {
		return fmt.Errorf("find %s in pod namespace: %w", podLink, err)
	}
	for _, ip := range ips {
		addr := &netlink.Addr{IPNet: single(ip), Flags: unix.IFA_F_NODAD}
		if err := e.pod.AddrReplace(inner, addr); err != nil {
			return fmt.Errorf("add address %s to pod: %w", ip, err)
		}
	}
	return n.routeTo(e.link, ips)
}

func (n *Net) openPod(e *entry) error {
	if e.pod != nil {
		return nil
	}
	ns, err := netns.Open(e.path)
	if err != nil {
		return err
	}
	defer ns.Close()
	e.pod, err = openHandle(ns)
	return err
}

// routeTo adds the host's neighbour entries and routes to a pod, the route last: from then on packets flow.
func (n *Net) routeTo(link string, ips []netip.Addr) error {
	host, err := n.h.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	mac, err := podMAC(n.cfg.LinkPrefix, link)
	if err != nil {
		return err
	}
	for _, ip := range ips {
		_, family := gateway(ip)
		neigh := &netlink.Neigh{
			LinkIndex: host.Attrs().Index, Family: family, State: netlink.NUD_PERMANENT, IP: ip.AsSlice(), HardwareAddr: mac,
		}
		if err := n.h.NeighSet(neigh); err != nil {
			return fmt.Errorf("add neighbour entry for %s: %w", ip, err)
		}
		if err := n.h.RouteReplace(n.podRoute(host.Attrs().Index, ip)); err != nil {
			return fmt.Errorf("add route to %s: %w", ip, err)
		}
	}
	return nil
}

func (n *Net) podRoute(link int, ip netip.Addr) *netlink.Route {
	r := &netlink.Route{LinkIndex: link, Dst: single(ip), Protocol: RouteProtocol}
	if ip.Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	for _, own := range nodeAddrs(n.cfg.PodCIDRs) {
		if own.Is4() == ip.Is4() {
			r.Src = own.AsSlice()
		}
	}
	return r
}

// detach removes the routes to a pod. The link goes with the namespace, in the kernel's own time: deleting it here would
// wait some 30 ms.
func (n *Net) detach(rec record) error {
	for _, ip := range rec.IPs {
		routes, err := n.h.RouteListFiltered(familyOf(ip), &netlink.Route{Dst: single(ip), Protocol: RouteProtocol},
			netlink.RT_FILTER_DST|netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return fmt.Errorf("find route to %s: %w", ip, err)
		}
		for _, r := range routes {
			if err := n.h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove route to %s: %w", ip, err)
			}
		}
	}
	return nil
}

// inspect says whether an entry of an earlier run is whole.
func (n *Net) inspect(e *entry) error {
	if !netns.IsNamespace(e.path) {
		return errNotWhole
	}
	link, err := n.h.LinkByName(e.link)
	if err != nil || link.Attrs().MTU != n.mtu || link.Attrs().Flags&net.FlagUp == 0 {
		return errNotWhole
	}
	if err := n.openPod(e); err != nil {
		return err
	}
	if _, err := e.pod.LinkByName(podLink); err != nil {
		return errNotWhole
	}
	// Repeating this makes a half-made entry whole, and one made for other address families fit.
	return n.furnishPod(e)
}

func single(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}
}

func familyOf(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// setSysctl writes a kernel setting of the thread's network namespace unless it has the value already: /proc/sys may be
// read-only and yet right.
func setSysctl(key, value string) error {
	path := "/proc/sys/" + key
	if old, err := os.ReadFile(path); err == nil && strings.Join(strings.Fields(string(old)), " ") == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set kernel setting %s to %s: %w", strings.ReplaceAll(key, "/", "."), value, err)
	}
	return nil
}
