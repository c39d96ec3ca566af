package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/kubetest"
	"github.com/cuppa-project/cuppa/network/dns"
	"github.com/cuppa-project/cuppa/network/netns"
	"github.com/cuppa-project/cuppa/network/netns/netnstest"
	"github.com/cuppa-project/cuppa/network/podnet"
)

// memory is a cluster in memory with just what the agent uses: sources that deliver in order, and writes that are seen by them. All
// other methods are absent and would panic.
type memory struct {
	kube.Cluster
	mu       sync.Mutex
	objects  map[schema.GroupVersionResource]map[string]kube.Object
	watchers map[schema.GroupVersionResource][]func(kube.Event)
	events   []string
}

func newMemory() *memory {
	return &memory{objects: map[schema.GroupVersionResource]map[string]kube.Object{}, watchers: map[schema.GroupVersionResource][]func(kube.Event){}}
}

func resource(obj kube.Object) schema.GroupVersionResource {
	switch obj.(type) {
	case *corev1.Service:
		return kube.Services
	case *discoveryv1.EndpointSlice:
		return kube.EndpointSlices
	case *corev1.Node:
		return kube.Nodes
	}
	return kube.Events
}

func (m *memory) put(obj kube.Object) kube.Object {
	m.mu.Lock()
	defer m.mu.Unlock()
	res, key := resource(obj), obj.GetNamespace()+"/"+obj.GetName()
	if ev, ok := obj.(*corev1.Event); ok {
		m.events = append(m.events, ev.Reason+": "+ev.Message)
		return obj
	}
	if m.objects[res] == nil {
		m.objects[res] = map[string]kube.Object{}
	}
	e := kube.Event{Old: m.objects[res][key], New: obj}
	m.objects[res][key] = obj
	for _, fn := range m.watchers[res] {
		fn(e)
	}
	return obj
}

func (m *memory) remove(obj kube.Object) {
	m.mu.Lock()
	defer m.mu.Unlock()
	res, key := resource(obj), obj.GetNamespace()+"/"+obj.GetName()
	e := kube.Event{Old: m.objects[res][key]}
	delete(m.objects[res], key)
	for _, fn := range m.watchers[res] {
		fn(e)
	}
}

func (m *memory) Create(_ context.Context, obj kube.Object) (kube.Object, error) {
	return m.put(obj), nil
}

func (m *memory) UpdateStatus(_ context.Context, obj kube.Object) (kube.Object, error) {
	return m.put(obj), nil
}

func (m *memory) Source(res schema.GroupVersionResource) kube.Source { return memorySource{m, res} }

type memorySource struct {
	m   *memory
	res schema.GroupVersionResource
}

func (s memorySource) Get(namespace, name string) kube.Object {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.m.objects[s.res][namespace+"/"+name]
}

func (s memorySource) List(string, labels.Selector) []kube.Object {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.m.objects[s.res]), func(a, b kube.Object) int { return strings.Compare(a.GetName(), b.GetName()) })
}

func (s memorySource) By(index *kube.Index, key string) []kube.Object {
	return kubetest.Under(s.List("", nil), index, key)
}

func (s memorySource) Watch(_ context.Context, fn func(kube.Event)) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for _, obj := range s.m.objects[s.res] {
		fn(kube.Event{New: obj})
	}
	s.m.watchers[s.res] = append(s.m.watchers[s.res], fn)
	return nil
}

// node is a node with its agent running.
type node struct {
	t       testing.TB
	ns      *netns.NS
	outside *netns.NS
	cluster *memory
	pods    *podnet.Net
	cfg     Config
	agent   *Agent
	stop    func()
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func newNode(t testing.TB) *node {
	n := &node{t: t, ns: netnstest.New(t), cluster: newMemory()}
	n.uplink()
	dir := t.TempDir()
	dnsAddr := []netip.Addr{netip.MustParseAddr("10.43.0.10")}
	var err error
	n.pods, err = podnet.New(podnet.Config{
		NS: n.ns, RunDir: dir, DataDir: dir, PodCIDRs: prefixes("10.42.0.0/24"), ServiceCIDRs: prefixes("10.43.0.0/16"), LocalAddrs: dnsAddr,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.pods.Cleanup(); err != nil {
			t.Error(err)
		}
		n.pods.Close()
	})
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n.cfg = Config{
		Cluster: n.cluster, NodeName: "n1", NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, NS: n.ns, Pods: n.pods,
		PodCIDRs: prefixes("10.42.0.0/24"), ServiceCIDRs: prefixes("10.43.0.0/16"), DNS: dnsAddr, ResolvConf: resolv, Table: "cuppa-test", RunDir: dir,
	}
	// The pod network makes the addresses that DNS answers on.
	n.pod("first")
	n.start()
	return n
}

// uplink gives the node an address that others reach it by.
func (n *node) uplink() {
	n.outside = netnstest.New(n.t)
	h := netnstest.Handle(n.t, n.ns)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "up0"
	must(n.t, h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "up1", PeerNamespace: netlink.NsFd(n.outside.FD())}))
	for _, end := range []struct {
		h          *netlink.Handle
		name, addr string
	}{{h, "up0", "192.0.2.7/24"}, {netnstest.Handle(n.t, n.outside), "up1", "192.0.2.1/24"}} {
		l, err := end.h.LinkByName(end.name)
		must(n.t, err)
		a, err := netlink.ParseAddr(end.addr)
		must(n.t, err)
		must(n.t, end.h.AddrAdd(l, a))
		must(n.t, end.h.LinkSetUp(l))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs an agent; stop ends it and waits.
func (n *node) start() {
	n.t.Helper()
	a, err := New(n.cfg)
	must(n.t, err)
	n.agent = a
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			n.t.Errorf("agent: %v", err)
		}
	})
	n.stop = func() { cancel(); wg.Wait() }
	n.t.Cleanup(func() { n.stop() })
}

func (n *node) pod(name string, ports ...podnet.HostPort) (ns *netns.NS, ip string) {
	n.t.Helper()
	at, err := n.pods.Setup(context.Background(), podnet.Pod{ID: name, Namespace: "proj", Name: name, HostPorts: ports})
	must(n.t, err)
	ns, err = netns.Open(at.NetNS)
	must(n.t, err)
	n.t.Cleanup(func() { ns.Close() })
	ip = at.IPs[0].String()
	netnstest.ServeName(n.t, ns, ip+":80", name)
	netnstest.ServeNameUDP(n.t, ns, ip+":80", name)
	return ns, ip
}

func service(name, ip string, edit func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "proj", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Name: "http", Port: 8000, Protocol: corev1.ProtocolTCP}}},
	}
	if edit != nil {
		edit(s)
	}
	return s
}

func loadBalancer(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer }

func slice(service string, ips ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "proj", Name: service + "-x", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(80)), Protocol: new(corev1.ProtocolTCP)}},
	}
	for _, ip := range ips {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: new("n1")})
	}
	return s
}

func (n *node) eventually(what string, ok func() bool) {
	n.t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	n.t.Errorf("not within 5 s: %s", what)
}

// answers waits until name answers at the address.
func (n *node) answers(from *netns.NS, addr, name string) {
	n.t.Helper()
	var got string
	var err error
	n.eventually(fmt.Sprintf("%s answers at %s", name, addr), func() bool {
		got, _, err = netnstest.Ask(from, addr)
		return err == nil && got == name
	})
}

func (n *node) refuses(from *netns.NS, addr string) {
	n.t.Helper()
	n.eventually(addr+" refuses", func() bool {
		c, err := netnstest.Dial(from, "tcp", addr, time.Second)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// resolve asks the node's DNS server from inside a namespace.
func (n *node) resolve(from *netns.NS, name string) string {
	c, err := netnstest.Dial(from, "udp", "10.43.0.10:53", time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	m := new(mdns.Msg)
	m.SetQuestion(mdns.Fqdn(name), mdns.TypeA)
	conn := &mdns.Conn{Conn: c}
	c.SetDeadline(time.Now().Add(time.Second))
	if err := conn.WriteMsg(m); err != nil {
		return err.Error()
	}
	r, err := conn.ReadMsg()
	if err != nil {
		return err.Error()
	}
	out := mdns.RcodeToString[r.Rcode]
	for _, rr := range r.Answer {
		out += " " + rr.(*mdns.A).A.String()
	}
	return out
}

func (n *node) condition(name string) *metav1.Condition {
	s, ok := kube.Get[*corev1.Service](n.cluster, kube.Services, "proj", name)
	if !ok || s == nil {
		return nil
	}
	return meta.FindStatusCondition(s.Status.Conditions, api.ConditionPublished)
}

func TestServiceFromTheAPIToTheWire(t *testing.T) {
	n := newNode(t)
	web, ip := n.pod("web")
	client, _ := n.pod("client")
	n.cluster.put(service("web", "10.43.0.5", nil))
	n.cluster.put(slice("web", ip))
	n.answers(client, "10.43.0.5:8000", "web")
	n.answers(n.ns, "10.43.0.5:8000", "web")
	n.answers(web, "10.43.0.5:8000", "web")
	if got := n.resolve(client, "web.proj.svc.cluster.local"); got != "NOERROR 10.43.0.5" {
		t.Errorf("from a pod: %s", got)
	}
	if got := n.resolve(n.ns, "web.proj.svc.cluster.local"); got != "NOERROR 10.43.0.5" {
		t.Errorf("from the node: %s", got)
	}
	if got := n.resolve(client, "example.com"); got != "SERVFAIL" {
		t.Errorf("foreign name without a resolver: %s", got)
	}
	n.cluster.put(slice("web"))
	n.refuses(client, "10.43.0.5:8000")
	n.cluster.remove(service("web", "", nil))
	n.eventually("the name goes", func() bool { return n.resolve(client, "web.proj.svc.cluster.local") == "NXDOMAIN" })
}

func TestHeadlessService(t *testing.T) {
	n := newNode(t)
	client, _ := n.pod("client")
	n.cluster.put(service("db", corev1.ClusterIPNone, func(s *corev1.Service) { s.Spec.Ports = nil }))
	s := slice("db", "10.42.0.50")
	s.Ports = nil
	n.cluster.put(s)
	n.eventually("db resolves", func() bool { return n.resolve(client, "db.proj.svc.cluster.local") == "NOERROR 10.42.0.50" })
	s = s.DeepCopy()
	s.Endpoints[0].Conditions.Ready = new(false)
	n.cluster.put(s)
	n.eventually("db has no ready endpoint", func() bool { return n.resolve(client, "db.proj.svc.cluster.local") == "NOERROR" })
}

func TestPublishedPort(t *testing.T) {
	n := newNode(t)
	_, ip := n.pod("web")
	n.cluster.put(slice("web", ip))
	n.cluster.put(service("web", "10.43.0.5", loadBalancer))
	for _, addr := range []string{"127.0.0.1:8000", "[::1]:8000", "192.0.2.7:8000"} {
		n.answers(n.ns, addr, "web")
	}
	n.answers(n.outside, "192.0.2.7:8000", "web")
	n.eventually("status", func() bool {
		s, _ := kube.Get[*corev1.Service](n.cluster, kube.Services, "proj", "web")
		c := n.condition("web")
		return len(s.Status.LoadBalancer.Ingress) == 1 && s.Status.LoadBalancer.Ingress[0].IP == "192.0.2.7" && c != nil && c.Status == metav1.ConditionTrue
	})
	// No longer published: the status is cleared, the port refused.
	n.cluster.put(service("web", "10.43.0.5", func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}}
	}))
	n.refuses(n.ns, "127.0.0.1:8000")
	n.refuses(n.ns, "[::1]:8000")
	n.eventually("status is cleared", func() bool {
		s, _ := kube.Get[*corev1.Service](n.cluster, kube.Services, "proj", "web")
		return len(s.Status.LoadBalancer.Ingress) == 0
	})
}

func TestPortClash(t *testing.T) {
	n := newNode(t)
	_, ip := n.pod("web")
	taken := netnstest.ServeName(t, n.ns, "0.0.0.0:8000", "other")
	n.cluster.put(slice("web", ip))
	n.cluster.put(service("web", "10.43.0.5", loadBalancer))
	want := fmt.Sprintf("port 8000/TCP is in use by process %d (agent.test)", os.Getpid())
	n.eventually("the clash is reported", func() bool {
		c := n.condition("web")
		return c != nil && c.Status == metav1.ConditionFalse && c.Message == want
	})
	n.answers(n.ns, "127.0.0.1:8000", "other") // it keeps its port
	n.eventually("an event tells", func() bool {
		n.cluster.mu.Lock()
		defer n.cluster.mu.Unlock()
		return strings.Contains(strings.Join(n.cluster.events, "\n"), "PortInUse: "+want)
	})
	// A second Service wants the port of a first.
	n.cluster.put(slice("a", ip))
	n.cluster.put(service("a", "10.43.0.6", func(s *corev1.Service) { loadBalancer(s); s.Spec.Ports[0].Port = 9000 }))
	n.cluster.put(service("b", "10.43.0.7", func(s *corev1.Service) { loadBalancer(s); s.Spec.Ports[0].Port = 9000 }))
	n.eventually("the clash of Services is reported", func() bool {
		c := n.condition("b")
		return c != nil && c.Status == metav1.ConditionFalse && c.Message == "port 9000/TCP is already published by Service proj/a"
	})
	n.answers(n.ns, "127.0.0.1:9000", "web")
	// The port becomes free: the Service gets it by itself.
	taken.Close()
	n.answers(n.ns, "127.0.0.1:8000", "web")
	n.eventually("the condition turns", func() bool { c := n.condition("web"); return c != nil && c.Status == metav1.ConditionTrue })
}

func TestHostPortOfAPod(t *testing.T) {
	n := newNode(t)
	n.pod("web", podnet.HostPort{HostPort: 8080, ContainerPort: 80, Protocol: "TCP"})
	for _, addr := range []string{"127.0.0.1:8080", "[::1]:8080", "192.0.2.7:8080"} {
		n.answers(n.ns, addr, "web")
	}
	n.answers(n.outside, "192.0.2.7:8080", "web")
	must(t, n.pods.Teardown(context.Background(), "web"))
	n.refuses(n.outside, "192.0.2.7:8080")
}

func TestWhileTheAgentIsAway(t *testing.T) {
	n := newNode(t)
	_, ip := n.pod("web")
	client, _ := n.pod("client")
	n.cluster.put(slice("web", ip))
	n.cluster.put(service("web", "10.43.0.5", loadBalancer))
	n.answers(client, "10.43.0.5:8000", "web")
	n.answers(n.ns, "127.0.0.1:8000", "web")
	n.stop()
	for range 20 {
		n.answers(client, "10.43.0.5:8000", "web")
		n.answers(n.ns, "127.0.0.1:8000", "web")
	}
	// When it comes back before the API does, names resolve from the file.
	z, err := dns.NewZone("cluster.local")
	must(t, err)
	must(t, z.Load(standalone(n.cfg).File))
	if z.Services()["proj/web"] == nil {
		t.Errorf("zone in the file: %v", z.Services())
	}
	n.start()
	n.answers(client, "10.43.0.5:8000", "web")
	n.answers(n.ns, "[::1]:8000", "web")
}

// TestDNSProcess is not a test: it is the DNS server's process of TestDNSInItsOwnProcess.
func TestDNSProcess(t *testing.T) {
	arg := os.Getenv("CUPPA_TEST_DNS")
	if arg == "" {
		t.Skip("runs only as the process of another test")
	}
	must(t, dns.Main(context.Background(), arg))
}

func TestDNSInItsOwnProcess(t *testing.T) {
	n := newNode(t)
	client, _ := n.pod("client")
	n.stop()
	n.cfg.DNSBuild = "1"
	n.cfg.DNSLauncher = func(ctx context.Context, arg string, output *os.File) error {
		return n.ns.Do(func() error {
			cmd := exec.CommandContext(ctx, "sh", "-c", `setsid "$0" -test.run '^TestDNSProcess$' &`, os.Args[0])
			cmd.Env = append(os.Environ(), "CUPPA_TEST_DNS="+arg)
			cmd.Stdout, cmd.Stderr = output, output
			return cmd.Run()
		})
	}
	t.Cleanup(func() {
		if err := Cleanup(n.cfg); err != nil {
			t.Error(err)
		}
	})
	n.start()
	n.cluster.put(service("web", "10.43.0.5", nil))
	answers := func(when, name, want string) {
		t.Helper()
		n.eventually(when, func() bool { return n.resolve(client, name+".proj.svc.cluster.local") == want })
	}
	answers("while the agent runs", "web", "NOERROR 10.43.0.5")
	n.stop()
	for range 20 {
		if got := n.resolve(client, "web.proj.svc.cluster.local"); got != "NOERROR 10.43.0.5" {
			t.Fatalf("while the agent is away: %s", got)
		}
	}
	n.cluster.put(service("more", "10.43.0.6", nil))
	n.start()
	answers("what came meanwhile", "more", "NOERROR 10.43.0.6")
	// The server's process ends: it is started again.
	must(t, dns.Stop(dnsSocket(n.cfg)))
	answers("after its end", "web", "NOERROR 10.43.0.5")
}

func TestDrained(t *testing.T) {
	n := newNode(t)
	_, ip := n.pod("web")
	addr := []netip.Addr{netip.MustParseAddr(ip)}
	n.cluster.put(slice("web", ip, "10.42.0.77"))
	n.cluster.put(service("web", "10.43.0.5", nil))
	n.eventually("the pod is chosen", func() bool { busy, _ := n.agent.chosen.busy(addr); return busy })
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := n.agent.Drained(short, addr); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is chosen: %v, want deadline exceeded", err)
	}
	long, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	done := make(chan error)
	go func() { done <- n.agent.Drained(long, addr) }()
	s := slice("web", ip, "10.42.0.77")
	s.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
	n.cluster.put(s)
	if err := <-done; err != nil {
		t.Errorf("after it ends: %v", err)
	}
}

func TestRestartUnderLoad(t *testing.T) {
	n := newNode(t)
	_, ip := n.pod("web")
	client, _ := n.pod("client")
	n.cluster.put(slice("web", ip))
	n.cluster.put(service("web", "10.43.0.5", nil))
	n.answers(client, "10.43.0.5:8000", "web")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, _, err := netnstest.Ask(client, "10.43.0.5:8000"); err != nil {
				t.Errorf("failed connection: %v", err)
				return
			}
		}
	})
	for range 5 {
		n.stop()
		n.start()
		n.eventually("the node answers DNS", func() bool { return strings.HasPrefix(n.resolve(client, "web.proj.svc.cluster.local"), "NOERROR") })
	}
	cancel()
	wg.Wait()
}

// BenchmarkEndpointToWire is the time from an EndpointSlice's change to the first connection that sees it.
func BenchmarkEndpointToWire(b *testing.B) {
	n := newNode(b)
	_, one := n.pod("one")
	_, two := n.pod("two")
	for i := range 1000 {
		name := fmt.Sprintf("s%d", i)
		n.cluster.put(service(name, netip.AddrFrom4([4]byte{10, 43, byte(1 + i>>8), byte(i)}).String(), nil))
		n.cluster.put(slice(name, one, two))
	}
	n.cluster.put(service("web", "10.43.0.5", nil))
	n.cluster.put(slice("web", one))
	n.answers(n.ns, "10.43.0.5:8000", "one")
	ips, names := []string{two, one}, []string{"two", "one"}
	i := 0
	for b.Loop() {
		n.cluster.put(slice("web", ips[i%2]))
		for {
			if got, _, err := netnstest.Ask(n.ns, "10.43.0.5:8000"); err == nil && got == names[i%2] {
				break
			}
		}
		i++
	}
}
