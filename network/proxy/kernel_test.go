package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/netns/netnstest"
	"github.com/cuppa-project/cuppa/network/podnet"
	"github.com/cuppa-project/cuppa/network/proxy"
)

// world is a node with pods and an outside host at 192.0.2.1, linked to the node's 192.0.2.7.
type world struct {
	t             testing.TB
	node, outside *netns.NS
	pods          *podnet.Net
	proxy         *proxy.Proxy
	cfg           proxy.Config
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, node: netnstest.New(t), outside: netnstest.New(t)}
	w.link()
	w.cfg = proxy.Config{
		NS: w.node, Table: "cuppa-test",
		PodCIDRs:     prefixes("10.42.0.0/24", "fd00:42::/64"),
		ClusterCIDRs: prefixes("10.42.0.0/16", "fd00:42::/56"),
		ServiceCIDRs: prefixes("10.43.0.0/16", "fd00:43::/112"),
		DNS:          addrs("10.43.0.10"),
	}
	dir := t.TempDir()
	pods, err := podnet.New(podnet.Config{
		NS: w.node, RunDir: filepath.Join(dir, "run"), DataDir: filepath.Join(dir, "data"), LocalAddrs: w.cfg.DNS,
		PodCIDRs: w.cfg.PodCIDRs, ClusterCIDRs: w.cfg.ClusterCIDRs, ServiceCIDRs: w.cfg.ServiceCIDRs,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.pods = pods
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { pods.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := pods.Cleanup(); err != nil {
			t.Error(err)
		}
		pods.Close()
	})
	w.open()
	t.Cleanup(func() { w.proxy.Close() })
	return w
}

// open starts the proxy anew, as after a crash.
func (w *world) open() {
	w.t.Helper()
	p, err := proxy.New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.proxy != nil {
		w.proxy.Close()
	}
	w.proxy = p
}

func (w *world) link() {
	h := netnstest.Handle(w.t, w.node)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "up0"
	must(w.t, h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "up1", PeerNamespace: netlink.NsFd(w.outside.FD())}))
	for _, end := range []struct {
		h          *netlink.Handle
		name, addr string
	}{{h, "up0", "192.0.2.7/24"}, {netnstest.Handle(w.t, w.outside), "up1", "192.0.2.1/24"}} {
		l, err := end.h.LinkByName(end.name)
		must(w.t, err)
		a, err := netlink.ParseAddr(end.addr)
		must(w.t, err)
		must(w.t, end.h.AddrAdd(l, a))
		must(w.t, end.h.LinkSetUp(l))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type pod struct {
	netns.NS
	ns *netns.NS
	ip netip.Addr
	v6 netip.Addr
	id string
}

// pod makes a pod that answers its name on port 80, TCP and UDP.
func (w *world) pod(name string) pod {
	w.t.Helper()
	at, err := w.pods.Setup(context.Background(), podnet.Pod{ID: name, Namespace: "n", Name: name})
	must(w.t, err)
	ns, err := netns.Open(at.NetNS)
	must(w.t, err)
	w.t.Cleanup(func() { ns.Close() })
	for _, ip := range at.IPs {
		netnstest.ServeName(w.t, ns, netip.AddrPortFrom(ip, 80).String(), name)
		netnstest.ServeNameUDP(w.t, ns, netip.AddrPortFrom(ip, 80).String(), name)
	}
	return pod{ns: ns, ip: at.IPs[0], v6: at.IPs[1], id: name}
}

func ready(pods ...pod) []proxy.Endpoint {
	var out []proxy.Endpoint
	for _, p := range pods {
		for _, ip := range []netip.Addr{p.ip, p.v6} {
			out = append(out, proxy.Endpoint{AddrPort: netip.AddrPortFrom(ip, 80), Local: true, Ready: true, Serving: true})
		}
	}
	return out
}

// svc is a Service with TCP and UDP port 8000.
func svc(fn func(*proxy.Service), pods ...pod) *proxy.Service {
	s := &proxy.Service{Name: "n/s", ClusterIPs: addrs("10.43.0.5", "fd00:43::5")}
	for _, proto := range []proxy.Protocol{proxy.TCP, proxy.UDP} {
		s.Ports = append(s.Ports, proxy.Port{Protocol: proto, Port: 8000, Endpoints: ready(pods...)})
	}
	if fn != nil {
		fn(s)
	}
	return s
}

func (w *world) sync(s *proxy.Service) {
	w.t.Helper()
	must(w.t, w.proxy.Sync(map[string]*proxy.Service{"n/s": s}))
}

func TestConnectionsThroughAService(t *testing.T) {
	w := newWorld(t)
	a, b, client := w.pod("a"), w.pod("b"), w.pod("client")
	w.sync(svc(func(s *proxy.Service) {
		for i := range s.Ports {
			s.Ports[i].NodePort, s.Ports[i].Published = 30800, true
		}
	}, a, b))
	self, other := client.ip.String(), "10.42.0.1"
	tests := []struct {
		name, target, client string
		from                 *netns.NS
	}{
		{"pod to cluster address", "10.43.0.5:8000", self, client.ns},
		{"pod to cluster address, IPv6", "[fd00:43::5]:8000", client.v6.String(), client.ns},
		{"node to cluster address", "10.43.0.5:8000", other, w.node},
		{"node to cluster address, IPv6", "[fd00:43::5]:8000", "fd00:42::1", w.node},
		{"node to localhost", "127.0.0.1:8000", other, w.node},
		{"node to localhost, another of its addresses", "127.0.0.7:8000", other, w.node},
		{"node to localhost, node port", "127.0.0.1:30800", other, w.node},
		{"node to its own address", "192.0.2.7:8000", "192.0.2.7", w.node},
		{"outside to the node, published port", "192.0.2.7:8000", "192.0.2.1", w.outside},
		{"outside to the node, node port", "192.0.2.7:30800", "192.0.2.1", w.outside},
		{"pod to the node", "192.0.2.7:8000", self, client.ns},
		{"pod to the node's pod-side address", "10.42.0.1:8000", self, client.ns},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for proto, ask := range map[string]func(*netns.NS, string) (string, string, error){"tcp": netnstest.Ask, "udp": netnstest.AskUDP} {
				seen := map[string]int{}
				for range 40 {
					name, from, err := ask(tt.from, tt.target)
					if err != nil {
						t.Fatalf("%s: %v\n%s", proto, err, w.proxy.Dump())
					}
					if from != tt.client {
						t.Fatalf("%s: pod sees client %s, want %s", proto, from, tt.client)
					}
					seen[name]++
				}
				if seen["a"] < 5 || seen["b"] < 5 {
					t.Errorf("%s: not spread: %v", proto, seen)
				}
			}
		})
	}
	t.Run("pod to itself", func(t *testing.T) {
		w.sync(svc(nil, a))
		for _, target := range []string{"10.43.0.5:8000", "[fd00:43::5]:8000"} {
			if name, from, err := netnstest.Ask(a.ns, target); err != nil || name != "a" || from == a.ip.String() {
				t.Errorf("%s: name %q, client %q, error %v", target, name, from, err)
			}
		}
	})
}

// TestStrictReversePathFilter runs the main paths on a host that checks the way back of every packet, as many distributions set it.
func TestStrictReversePathFilter(t *testing.T) {
	w := newWorld(t)
	must(t, w.node.Do(func() error {
		for _, link := range []string{"all", "default", "up0"} {
			if err := writeSysctl("net/ipv4/conf/"+link+"/rp_filter", "1"); err != nil {
				return err
			}
		}
		return nil
	}))
	a, client := w.pod("a"), w.pod("client")
	w.sync(svc(func(s *proxy.Service) { s.Ports[0].Published = true }, a))
	for _, tt := range []struct {
		from   *netns.NS
		target string
	}{{client.ns, "10.43.0.5:8000"}, {a.ns, "10.43.0.5:8000"}, {w.node, "10.43.0.5:8000"}, {w.node, "127.0.0.1:8000"}, {w.node, "192.0.2.7:8000"}, {w.outside, "192.0.2.7:8000"}} {
		if name, _, err := netnstest.Ask(tt.from, tt.target); err != nil || name != "a" {
			t.Errorf("%s: %q, %v", tt.target, name, err)
		}
	}
}

func TestRefusedAtOnce(t *testing.T) {
	w := newWorld(t)
	client := w.pod("client")
	w.sync(svc(func(s *proxy.Service) { s.Ports[0].NodePort = 30800 }))
	tests := []struct {
		name, target string
		from         *netns.NS
	}{
		{"Service without endpoints", "10.43.0.5:8000", client.ns},
		{"Service without endpoints, from the node", "10.43.0.5:8000", w.node},
		{"Service without endpoints, node port", "192.0.2.7:30800", w.outside},
		{"Service without endpoints, localhost", "127.0.0.1:30800", w.node},
		{"port that no Service has", "10.43.0.5:81", client.ns},
		{"address that no Service has", "10.43.200.200:80", client.ns},
		{"address that no Service has, from the node", "10.43.200.200:80", w.node},
		{"pod address nobody holds", "10.42.0.99:80", client.ns},
		{"pod address of no node", "10.42.77.1:80", client.ns},
		{"IPv6 Service address nobody holds", "[fd00:43::99]:80", client.ns},
		{"IPv6 pod address nobody holds", "[fd00:42::99]:80", client.ns},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 {
				start := time.Now()
				c, err := netnstest.Dial(tt.from, "tcp", tt.target, 3*time.Second)
				if err == nil {
					c.Close()
				}
				if !errors.Is(err, syscall.ECONNREFUSED) {
					t.Fatalf("got %v after %s, want refused", err, time.Since(start))
				}
			}
		})
	}
	t.Run("from the node to a pod address", func(t *testing.T) {
		if _, err := netnstest.Dial(w.node, "tcp", "10.42.0.99:80", 3*time.Second); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("got %v, want no route to host", err)
		}
	})
}

func TestConnectionToAPodThatHasGoneIsReset(t *testing.T) {
	for _, tt := range []struct {
		name, target string
		fromNode     bool
	}{
		{"from a pod", "10.43.0.5:8000", false},
		{"from the node", "10.43.0.5:8000", true},
		{"from the node by localhost", "127.0.0.1:8000", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a, client := w.pod("a"), w.pod("client")
			from := client.ns
			if tt.fromNode {
				from = w.node
			}
			published := func(s *proxy.Service) { s.Ports[0].Published = true }
			w.sync(svc(published, a))
			c, err := netnstest.Dial(from, "tcp", tt.target, time.Second)
			must(t, err)
			defer c.Close()
			buf := make([]byte, 100)
			_, err = c.Read(buf)
			must(t, err)
			must(t, w.pods.Teardown(context.Background(), "a"))
			w.sync(svc(published))
			c.SetDeadline(time.Now().Add(3 * time.Second))
			if _, err = c.Write([]byte("hello")); err == nil {
				_, err = c.Read(buf)
			}
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EHOSTUNREACH) {
				t.Errorf("got %v, want connection reset", err)
			}
		})
	}
}

func TestLocalhostStaysTheNodes(t *testing.T) {
	w := newWorld(t)
	client := w.pod("client")
	w.sync(nil)
	netnstest.ServeName(t, w.node, "127.0.0.1:7777", "secret")
	// The pod routes 127.0.0.0/8 to the node, as an attacker would.
	h := netnstest.Handle(t, client.ns)
	eth0, err := h.LinkByName("eth0")
	must(t, err)
	must(t, w.allowLocalnet(client.ns))
	lo, err := h.LinkByName("lo")
	must(t, err)
	a, _ := netlink.ParseAddr("127.0.0.1/8")
	must(t, h.AddrDel(lo, a))
	_, dst, _ := net.ParseCIDR("127.0.0.1/32")
	must(t, h.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: eth0.Attrs().Index, Gw: net.IPv4(169, 254, 1, 1), Flags: int(netlink.FLAG_ONLINK)}))
	if c, err := netnstest.Dial(client.ns, "tcp", "127.0.0.1:7777", 300*time.Millisecond); err == nil {
		c.Close()
		t.Error("a pod reached a localhost port of the node")
	}
}

func (w *world) allowLocalnet(ns *netns.NS) error {
	return ns.Do(func() error { return writeSysctl("net/ipv4/conf/eth0/route_localnet", "1") })
}

func TestRolloutLosesNothing(t *testing.T) {
	w := newWorld(t)
	pods := []pod{w.pod("a"), w.pod("b"), w.pod("c"), w.pod("d")}
	client := w.pod("client")
	w.sync(svc(nil, pods[0], pods[1]))
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var asked atomic.Int64
	for _, from := range []*netns.NS{client.ns, w.node} {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, _, err := netnstest.Ask(from, "10.43.0.5:8000"); err != nil {
					t.Errorf("failed connection during the roll-out: %v", err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for i := range 40 {
		// Up one, down one: sometimes only a terminating one is left.
		now := []pod{pods[i%4], pods[(i+1)%4]}
		w.sync(svc(nil, now...))
		only := svc(nil, now[0])
		for p := range only.Ports {
			for e := range only.Ports[p].Endpoints {
				only.Ports[p].Endpoints[e].Ready, only.Ports[p].Endpoints[e].Terminating = false, true
			}
		}
		w.sync(only)
		if i%10 == 9 {
			w.open() // and the proxy restarts in between
			w.sync(svc(nil, now...))
		}
	}
	cancel()
	wg.Wait()
	if asked.Load() < 20 {
		t.Errorf("only %d connections were made", asked.Load())
	}
}

func TestEstablishedConnectionsSurvive(t *testing.T) {
	w := newWorld(t)
	a, b, client := w.pod("a"), w.pod("b"), w.pod("client")
	w.sync(svc(nil, a))
	c, err := netnstest.Dial(client.ns, "tcp", "10.43.0.5:8000", time.Second)
	must(t, err)
	defer c.Close()
	buf := make([]byte, 100)
	_, err = c.Read(buf)
	must(t, err)
	for name, change := range map[string]func(){
		"endpoint replaced": func() { w.sync(svc(nil, b)) },
		"Service removed":   func() { w.sync(nil) },
		"proxy restarted":   func() { w.open(); w.sync(nil) },
	} {
		change()
		c.SetDeadline(time.Now().Add(2 * time.Second))
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := c.Read(buf[:1]); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func TestUDPFollowsItsEndpoints(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	running := w.proxy
	wg.Go(func() { running.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	a, b, client := w.pod("a"), w.pod("b"), w.pod("client")
	w.sync(svc(nil, a))
	c, err := netnstest.Dial(client.ns, "udp", "10.43.0.5:8000", time.Second)
	must(t, err)
	defer c.Close()
	name, _, err := netnstest.AskOn(c)
	must(t, err)
	if name != "a" {
		t.Fatalf("got %q, want a", name)
	}
	w.sync(svc(nil, b))
	eventually(t, "the same socket reaches b", func() bool {
		name, _, err := netnstest.AskOn(c)
		return err == nil && name == "b"
	})
	// Also when the change happened while nobody watched.
	w.open()
	again := w.proxy
	wg.Go(func() { again.Run(ctx) })
	w.sync(svc(nil, a))
	eventually(t, "the same socket reaches a", func() bool {
		name, _, err := netnstest.AskOn(c)
		return err == nil && name == "a"
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("not within 3 s: %s", what)
}

func TestAffinity(t *testing.T) {
	w := newWorld(t)
	a, b, client := w.pod("a"), w.pod("b"), w.pod("client")
	sticky := func(s *proxy.Service) {
		s.Affinity = 2 * time.Second
		for i := range s.Ports {
			s.Ports[i].NodePort = 30800
		}
	}
	w.sync(svc(sticky, a, b))
	for _, tt := range []struct {
		from   *netns.NS
		target string
	}{{client.ns, "10.43.0.5:8000"}, {client.ns, "[fd00:43::5]:8000"}, {w.node, "127.0.0.1:30800"}, {w.outside, "192.0.2.7:30800"}} {
		first, _, err := netnstest.Ask(tt.from, tt.target)
		if err != nil {
			t.Fatalf("%s: %v", tt.target, err)
		}
		for range 30 {
			if name, _, err := netnstest.Ask(tt.from, tt.target); err != nil || name != first {
				t.Fatalf("%s: got %q, %v; want %q as before", tt.target, name, err, first)
			}
		}
		// Its endpoint goes: it moves, and stays there even when the first one comes back.
		gone, left := a, b
		if first == "b" {
			gone, left = b, a
		}
		w.sync(svc(sticky, left))
		if name, _, err := netnstest.Ask(tt.from, tt.target); err != nil || name != left.id {
			t.Fatalf("%s: got %q, %v; want %q", tt.target, name, err, left.id)
		}
		w.sync(svc(sticky, gone, left))
		for range 20 {
			if name, _, err := netnstest.Ask(tt.from, tt.target); err != nil || name != left.id {
				t.Fatalf("%s: got %q, %v; want still %q", tt.target, name, err, left.id)
			}
		}
	}
}

func TestPolicies(t *testing.T) {
	w := newWorld(t)
	a, client := w.pod("a"), w.pod("client")
	remote := proxy.Endpoint{AddrPort: netip.MustParseAddrPort("10.42.0.98:80"), Ready: true, Serving: true}
	w.sync(svc(func(s *proxy.Service) {
		s.ExternalLocal = true
		for i := range s.Ports {
			s.Ports[i].NodePort = 30800
			s.Ports[i].Endpoints = append(s.Ports[i].Endpoints, remote)
		}
	}, a))
	for range 20 {
		if name, _, err := netnstest.Ask(w.outside, "192.0.2.7:30800"); err != nil || name != "a" {
			t.Fatalf("external, local policy: %q, %v", name, err)
		}
	}
	w.sync(svc(func(s *proxy.Service) {
		s.InternalLocal = true
		for i := range s.Ports {
			s.Ports[i].Endpoints = []proxy.Endpoint{remote}
		}
	}))
	if _, err := netnstest.Dial(client.ns, "tcp", "10.43.0.5:8000", 300*time.Millisecond); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("internal local policy without a local endpoint: %v, want silence", err)
	}
}

func TestPublishedOnOneAddress(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a")
	w.sync(svc(func(s *proxy.Service) {
		s.Ports[0].Published, s.Ports[0].PublishedOn = true, addrs("127.0.0.1")
	}, a))
	if name, _, err := netnstest.Ask(w.node, "127.0.0.1:8000"); err != nil || name != "a" {
		t.Errorf("on 127.0.0.1: %q, %v", name, err)
	}
	if _, err := netnstest.Dial(w.outside, "tcp", "192.0.2.7:8000", time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("from outside: %v, want refused", err)
	}
}

func TestPodsReachTheOutside(t *testing.T) {
	w := newWorld(t)
	client := w.pod("client")
	w.sync(nil)
	netnstest.ServeName(t, w.outside, "192.0.2.1:80", "outside")
	if name, from, err := netnstest.Ask(client.ns, "192.0.2.1:80"); err != nil || name != "outside" || from != "192.0.2.7" {
		t.Errorf("name %q, client %q, error %v; want outside, 192.0.2.7", name, from, err)
	}
}

func TestFlushedTablesAreLoadedAgain(t *testing.T) {
	w := newWorld(t)
	a, b := w.pod("a"), w.pod("b")
	w.sync(svc(nil, a))
	c, err := nftables.New(nftables.WithNetNSFd(w.node.FD()))
	must(t, err)
	c.FlushRuleset()
	must(t, c.Flush())
	w.sync(svc(nil, b))
	if name, _, err := netnstest.Ask(w.node, "10.43.0.5:8000"); err != nil || name != "b" {
		t.Errorf("after a change: got %q, %v", name, err)
	}
	// And without a change, when they are next looked for.
	c.FlushRuleset()
	must(t, c.Flush())
	w.proxy.Mend()
	if name, _, err := netnstest.Ask(w.node, "10.43.0.5:8000"); err != nil || name != "b" {
		t.Errorf("after a look: got %q, %v", name, err)
	}
	w.proxy.Mend() // nothing to do
}

func TestCleanupLeavesNoTable(t *testing.T) {
	w := newWorld(t)
	w.sync(svc(nil, w.pod("a")))
	if got := w.tables(); len(got) != 2 {
		t.Fatalf("tables loaded: %v", got)
	}
	must(t, w.proxy.Cleanup())
	if got := w.tables(); len(got) != 0 {
		t.Errorf("tables left: %v", got)
	}
	must(t, w.proxy.Cleanup())
}

func (w *world) tables() []string {
	c, err := nftables.New(nftables.WithNetNSFd(w.node.FD()))
	must(w.t, err)
	tables, err := c.ListTables()
	must(w.t, err)
	var names []string
	for _, tb := range tables {
		names = append(names, tb.Name)
	}
	return names
}

func many(n int) map[string]*proxy.Service {
	all := map[string]*proxy.Service{}
	for i := range n {
		name := fmt.Sprintf("n/s%d", i)
		s := &proxy.Service{Name: name, ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 43, byte(i >> 8), byte(i)})}}
		p := proxy.Port{Protocol: proxy.TCP, Port: 80}
		for k := range 3 {
			p.Endpoints = append(p.Endpoints, proxy.Endpoint{
				AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 42, byte(i >> 8), byte(i + k)}), uint16(8000+k)), Ready: true, Serving: true,
			})
		}
		s.Ports = []proxy.Port{p}
		all[name] = s
	}
	return all
}

func TestEveryElementArrives(t *testing.T) {
	w := newWorld(t)
	must(t, w.proxy.Sync(many(2000)))
	c, err := nftables.New(nftables.WithNetNSFd(w.node.FD()))
	must(t, err)
	table := &nftables.Table{Name: w.cfg.Table, Family: nftables.TableFamilyIPv4}
	for set, want := range map[string]int{"services": 2000, "endpoints": 6000} {
		s, err := c.GetSetByName(table, set)
		must(t, err)
		elements, err := c.GetSetElements(s)
		must(t, err)
		if len(elements) != want {
			t.Errorf("set %s has %d elements, want %d", set, len(elements), want)
		}
	}
}

func TestNotAllowed(t *testing.T) {
	w := newWorld(t)
	// A foreign user of the machine may not; the error says what to do.
	err := asNobody(func() error {
		_, err := proxy.New(w.cfg)
		return err
	})
	if !errors.Is(err, errkind.Denied) {
		t.Errorf("got %v, want kind denied", err)
	}
}

func BenchmarkLoad10k(b *testing.B) {
	w := newWorld(b)
	all := many(10000)
	for b.Loop() {
		w.open()
		must(b, w.proxy.Sync(all))
	}
}

func BenchmarkEndpointChangeAt10k(b *testing.B) {
	w := newWorld(b)
	all := many(10000)
	must(b, w.proxy.Sync(all))
	i := 0
	for b.Loop() {
		s := *all["n/s77"]
		p := s.Ports[0]
		p.Endpoints = p.Endpoints[:2+i%2]
		s.Ports = []proxy.Port{p}
		must(b, w.proxy.Sync(map[string]*proxy.Service{"n/s77": &s}))
		i++
	}
}
