package podnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/netns/netnstest"
)

type node struct {
	t   testing.TB
	ns  *netns.NS
	cfg Config
	*Net
}

func newNode(t testing.TB) *node {
	ns := netnstest.New(t)
	dir := t.TempDir()
	n := &node{t: t, ns: ns, cfg: Config{
		NS: ns, RunDir: filepath.Join(dir, "run"), DataDir: filepath.Join(dir, "data"),
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.42.0.0/24"), netip.MustParsePrefix("fd00:42::/64")},
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd00:42::/56")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("fd00:43::/112")},
		LocalAddrs:   []netip.Addr{netip.MustParseAddr("10.43.0.10")},
		NodeIPs:      []netip.Addr{netip.MustParseAddr("192.0.2.7")},
	}}
	n.open()
	t.Cleanup(func() {
		if err := n.Cleanup(); err != nil {
			t.Errorf("clean up: %v", err)
		}
		n.Close()
	})
	return n
}

// open starts anew on the same directories, as a process does that was killed.
func (n *node) open() {
	n.t.Helper()
	net, err := New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Net = net
}

func (n *node) setup(id string) Attachment {
	n.t.Helper()
	at, err := n.Setup(context.Background(), Pod{ID: id, Namespace: "ns", Name: id})
	if err != nil {
		n.t.Fatal(err)
	}
	return at
}

func (n *node) podNS(at Attachment) *netns.NS {
	n.t.Helper()
	ns, err := netns.Open(at.NetNS)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { ns.Close() })
	return ns
}

func addrPort(ip netip.Addr, port int) string { return netip.AddrPortFrom(ip, uint16(port)).String() }

func TestPodsReachEachOtherAndTheNode(t *testing.T) {
	n := newNode(t)
	a, b := n.setup("a"), n.setup("b")
	nsA, nsB := n.podNS(a), n.podNS(b)
	for i, ip := range b.IPs {
		netnstest.ServeName(t, nsB, addrPort(ip, 80), "b")
		for from, ns := range map[string]*netns.NS{"pod": nsA, "node": n.ns, "itself": nsB} {
			name, client, err := netnstest.Ask(ns, addrPort(ip, 80))
			if err != nil || name != "b" {
				t.Errorf("from %s to %s: name %q, error %v", from, ip, name, err)
			}
			want := map[string]string{"pod": a.IPs[i].String(), "node": n.NodeAddrs()[i].String(), "itself": ip.String()}[from]
			if client != want {
				t.Errorf("from %s to %s: client address %s, want %s", from, ip, client, want)
			}
		}
	}
	// And back: the node is reached at its pod-side address.
	for _, ip := range n.NodeAddrs() {
		netnstest.ServeName(t, n.ns, addrPort(ip, 81), "node")
		if name, _, err := netnstest.Ask(nsA, addrPort(ip, 81)); err != nil || name != "node" {
			t.Errorf("from pod to node %s: name %q, error %v", ip, name, err)
		}
	}
}

func TestSetupIsIdempotentAndStatusTells(t *testing.T) {
	n := newNode(t)
	at := n.setup("a")
	if diff := cmp.Diff(at, n.setup("a"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("second Setup differs (-first +second):\n%s", diff)
	}
	if got, err := n.Status("a"); err != nil || got.NetNS != at.NetNS {
		t.Errorf("status: %+v, %v", got, err)
	}
	if _, err := n.Status("b"); !errors.Is(err, errkind.NotFound) {
		t.Errorf("status of an unknown pod: %v, want kind not found", err)
	}
	host, err := n.Setup(context.Background(), Pod{ID: "h", HostNetwork: true})
	if err != nil || host.NetNS != "" || len(host.IPs) != 1 || host.IPs[0] != n.cfg.NodeIPs[0] {
		t.Errorf("host network pod: %+v, %v", host, err)
	}
	if _, err := n.Setup(context.Background(), Pod{}); !errors.Is(err, errkind.Invalid) {
		t.Errorf("no id: %v, want kind invalid", err)
	}
}

func TestUnheldAddressIsRefusedAtOnce(t *testing.T) {
	n := newNode(t)
	at := n.setup("a")
	start := time.Now()
	_, err := netnstest.Dial(n.ns, "tcp", "10.42.0.77:80", 3*time.Second)
	if !errors.Is(err, syscall.EHOSTUNREACH) || time.Since(start) > 500*time.Millisecond {
		t.Errorf("dial of an unheld address: %v after %s, want no route to host at once", err, time.Since(start))
	}
	if err := n.Teardown(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := netnstest.Dial(n.ns, "tcp", addrPort(at.IPs[0], 80), 3*time.Second); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("dial of a gone pod: %v, want no route to host", err)
	}
	if netns.IsNamespace(at.NetNS) {
		t.Errorf("namespace %s is still there", at.NetNS)
	}
	if err := n.Teardown(context.Background(), "a"); err != nil {
		t.Errorf("second teardown: %v", err)
	}
}

func TestKilledAndStartedAgain(t *testing.T) {
	n := newNode(t)
	a := n.setup("a")
	n.setup("b")
	netnstest.ServeName(t, n.podNS(a), addrPort(a.IPs[0], 80), "a")
	// The new process finds the pods; connections work before it has done anything, and after.
	n.open()
	if _, _, err := netnstest.Ask(n.ns, addrPort(a.IPs[0], 80)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, n.Pods()); diff != "" {
		t.Errorf("pods found (-want +got):\n%s", diff)
	}
	// Somebody flushed the routes meanwhile.
	if err := n.detach(record{IPs: a.IPs}); err != nil {
		t.Fatal(err)
	}
	c := n.setup("c")
	if _, _, err := netnstest.Ask(n.ns, addrPort(a.IPs[0], 80)); err != nil {
		t.Errorf("routes were not restored: %v", err)
	}
	if c.IPs[0] == a.IPs[0] {
		t.Errorf("address %s was given away twice", c.IPs[0])
	}
	if err := n.Teardown(context.Background(), "b"); err != nil {
		t.Errorf("teardown of a pod of the earlier run: %v", err)
	}
}

func TestNamespacesGoneButRecordsThere(t *testing.T) {
	n := newNode(t)
	a := n.setup("a")
	n.setup("b")
	// A reboot with a run directory that survives it.
	for _, id := range []string{"a", "b"} {
		at, err := n.Status(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := netns.Remove(at.NetNS); err != nil {
			t.Fatal(err)
		}
	}
	n.open()
	if _, err := n.Status("a"); !errors.Is(err, errkind.Unavailable) {
		t.Errorf("status: %v, want kind unavailable", err)
	}
	again := n.setup("a")
	if again.IPs[0] != a.IPs[0] || again.NetNS == a.NetNS {
		t.Errorf("set up again: %+v, before: %+v; want the same addresses in a new namespace", again, a)
	}
	netnstest.ServeName(t, n.podNS(again), addrPort(again.IPs[0], 80), "a")
	if _, _, err := netnstest.Ask(n.ns, addrPort(again.IPs[0], 80)); err != nil {
		t.Error(err)
	}
	if err := n.Teardown(context.Background(), "b"); err != nil {
		t.Errorf("teardown of a pod whose namespace has gone: %v", err)
	}
}

func TestReadyNamespacesAreAdopted(t *testing.T) {
	n := newNode(t)
	run := func() int {
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := n.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		for n.readyCount() < 4 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		wg.Wait()
		return n.readyCount()
	}
	run()
	names := n.readyNames()
	// One of them is half-made: it has no link.
	half := filepath.Join(n.nsDir(), newName("cup"))
	ns, err := netns.Create(half)
	if err != nil {
		t.Fatal(err)
	}
	ns.Close()
	n.open()
	run()
	if diff := cmp.Diff(names, n.readyNames()); diff != "" {
		t.Errorf("adopted (-before +after):\n%s", diff)
	}
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("half-made namespace was kept: %v", err)
	}
	at := n.setup("a")
	if want := names[at.Link]; !want {
		t.Errorf("pod got link %s, not a ready one", at.Link)
	}
	netnstest.ServeName(t, n.podNS(at), addrPort(at.IPs[0], 80), "a")
	if _, _, err := netnstest.Ask(n.ns, addrPort(at.IPs[0], 80)); err != nil {
		t.Error(err)
	}
}

func (n *Net) readyCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.ready)
}

func (n *Net) readyNames() map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	names := map[string]bool{}
	for _, e := range n.ready {
		names[e.link] = true
	}
	return names
}

func TestCleanupLeavesNothing(t *testing.T) {
	n := newNode(t)
	before := n.snapshot()
	a := n.setup("a")
	n.setup("b")
	n.podNS(a) // a handle that is still open keeps the namespace alive
	if during := n.snapshot(); during == before {
		t.Fatal("the snapshot does not see pods")
	}
	if err := n.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.snapshot()); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
	if left, _ := filepath.Glob(filepath.Join(n.cfg.RunDir, "*", "*")); len(left) > 0 {
		t.Errorf("files left: %v", left)
	}
}

// snapshot prints the node's links, addresses and routes.
func (n *node) snapshot() string {
	h := netnstest.Handle(n.t, n.ns)
	var b strings.Builder
	links, err := h.LinkList()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, l := range links {
		fmt.Fprintln(&b, "link", l.Attrs().Name)
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, a := range addrs {
		fmt.Fprintln(&b, "address", a.IPNet)
	}
	routes, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, r := range routes {
		fmt.Fprintln(&b, "route", r.Table, r.Dst)
	}
	return b.String()
}

func TestHostPorts(t *testing.T) {
	n := newNode(t)
	told := 0
	defer n.Notify(func() { told++ })()
	_, err := n.Setup(context.Background(), Pod{ID: "a", Namespace: "ns", Name: "a", HostPorts: []HostPort{{HostPort: 8080, ContainerPort: 80, Protocol: "TCP"}}})
	if err != nil {
		t.Fatal(err)
	}
	n.open()
	got, err := json.Marshal(n.HostPorts())
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"hostPort":8080,"containerPort":80,"protocol":"TCP","Namespace":"ns","Name":"a","IPs":["10.42.0.2","fd00:42::2"]}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if told != 1 {
		t.Errorf("told %d times, want 1", told)
	}
}

func TestMTUComesFromTheUplink(t *testing.T) {
	n := newNode(t)
	h := netnstest.Handle(t, n.ns)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "up0", 1400
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "up1"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"up0", "up1"} {
		l, err := h.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
	up, _ := h.LinkByName("up0")
	if err := h.RouteAdd(&netlink.Route{LinkIndex: up.Attrs().Index, Dst: everything(netlink.FAMILY_V4), Scope: netlink.SCOPE_LINK}); err != nil {
		t.Fatal(err)
	}
	n.cfg.Overhead = 36
	n.open()
	at := n.setup("a")
	inner := netnstest.Handle(t, n.podNS(at))
	for _, side := range []struct {
		h    *netlink.Handle
		name string
	}{{h, at.Link}, {inner, podLink}} {
		l, err := side.h.LinkByName(side.name)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := l.Attrs().MTU, 1364; got != want {
			t.Errorf("MTU of %s: got %d, want %d", side.name, got, want)
		}
	}
	prefixes, err := HostPrefixes(n.ns)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prefixes {
		if p.Overlaps(n.cfg.ClusterCIDRs[0]) && p.Bits() > 0 {
			t.Errorf("our own range appears among the host's: %s", p)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	n := newNode(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			id := fmt.Sprint("p", i%10) // every id twice
			if _, err := n.Setup(context.Background(), Pod{ID: id, Name: id}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	seen := map[netip.Addr]string{}
	for _, id := range n.Pods() {
		at, err := n.Status(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, ip := range at.IPs {
			if other, ok := seen[ip]; ok {
				t.Errorf("%s and %s both have %s", id, other, ip)
			}
			seen[ip] = id
		}
	}
	if len(n.Pods()) != 10 {
		t.Errorf("got %d pods, want 10", len(n.Pods()))
	}
}

func BenchmarkSetupTeardown(b *testing.B) {
	n := newNode(b)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	var spent time.Duration
	for i := range b.N {
		for n.readyCount() < 4 {
			time.Sleep(time.Millisecond)
		}
		id := fmt.Sprint("p", i)
		start := time.Now()
		n.setup(id)
		spent += time.Since(start)
		if err := n.Teardown(ctx, id); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "us/setup")
}
