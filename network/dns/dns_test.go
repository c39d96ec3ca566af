package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func testServices() map[string]*Service {
	http := []Port{{Name: "http", Protocol: "TCP", Port: 80}}
	all := map[string]*Service{}
	for _, s := range []*Service{
		{Namespace: "proj", Name: "web", ClusterIPs: addrs("10.43.0.5", "fd00:43::5"), Ports: append(http, Port{Name: "", Protocol: "UDP", Port: 53}), Aliases: []string{"www"}},
		{Namespace: "proj", Name: "db", Endpoints: []Endpoint{
			{Addr: addrs("10.42.0.5")[0], Hostname: "db-0", Ports: http}, {Addr: addrs("10.42.0.6")[0], Ports: http}, {Addr: addrs("10.42.0.7")[0], Ports: http},
		}},
		{Namespace: "proj", Name: "empty"},
		{Namespace: "proj", Name: "out", ExternalName: "example.test"},
		{Namespace: "proj", Name: "in", ExternalName: "web.proj.svc.cluster.local"},
		{Namespace: "other", Name: "web", ClusterIPs: addrs("10.43.0.6")},
	} {
		all[s.Key()] = s
	}
	return all
}

type fixture struct {
	t      testing.TB
	zone   *Zone
	server *Server
	addr   string
}

// start runs a server on a port of its own on loopback.
func start(t testing.TB, resolvConf string) *fixture {
	t.Helper()
	z, err := NewZone("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	if err := z.Update(testServices(), true); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(resolvConf), 0o644); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	s, err := New(Config{
		Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}, Zone: z, ResolvConf: path,
		Ranges: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("10.42.0.0/16")},
	})
	if err != nil {
		t.Fatal(err)
	}
	untilEnd(t, s.Run)
	return &fixture{t: t, zone: z, server: s, addr: fmt.Sprintf("127.0.0.1:%d", port)}
}

// untilEnd runs fn until the test ends, and waits for it.
func untilEnd(t testing.TB, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := fn(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func freePort(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func (f *fixture) ask(network, name string, typ uint16, edit func(*dns.Msg)) *dns.Msg {
	f.t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), typ)
	if edit != nil {
		edit(m)
	}
	c := dns.Client{Net: network, Timeout: 5 * time.Second}
	r, _, err := c.Exchange(m, f.addr)
	if err != nil {
		f.t.Fatalf("ask %s %s: %v", name, dns.TypeToString[typ], err)
	}
	return r
}

// show is an answer in words, the records in order.
func show(r *dns.Msg) string {
	lines := []string{dns.RcodeToString[r.Rcode]}
	if r.Truncated {
		lines[0] += " truncated"
	}
	if !r.Authoritative {
		lines[0] += " foreign"
	}
	for section, rrs := range map[string][]dns.RR{"": r.Answer, "authority: ": r.Ns, "extra: ": r.Extra} {
		for _, rr := range rrs {
			if rr.Header().Rrtype != dns.TypeOPT {
				lines = append(lines, section+strings.Join(strings.Fields(rr.String()), " "))
			}
		}
	}
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n")
}

const soa = "authority: cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"

func TestNames(t *testing.T) {
	f := start(t, "")
	tests := []struct {
		name string
		typ  uint16
		want string
	}{
		{"web.proj.svc.cluster.local", dns.TypeA, "NOERROR\nweb.proj.svc.cluster.local. 5 IN A 10.43.0.5"},
		{"WEB.Proj.svc.cluster.LOCAL", dns.TypeA, "NOERROR\nWEB.Proj.svc.cluster.LOCAL. 5 IN A 10.43.0.5"},
		{"web.proj.svc.cluster.local", dns.TypeAAAA, "NOERROR\nweb.proj.svc.cluster.local. 5 IN AAAA fd00:43::5"},
		{"www.proj.svc.cluster.local", dns.TypeA, "NOERROR\nwww.proj.svc.cluster.local. 5 IN A 10.43.0.5"},
		{"web.other.svc.cluster.local", dns.TypeAAAA, "NOERROR\n" + soa},
		{"web.other.svc.cluster.local", dns.TypeMX, "NOERROR\n" + soa},
		{"web.other.svc.cluster.local", 65, "NOERROR\n" + soa},
		{"db.proj.svc.cluster.local", dns.TypeA, "NOERROR\ndb.proj.svc.cluster.local. 5 IN A 10.42.0.5\ndb.proj.svc.cluster.local. 5 IN A 10.42.0.6\ndb.proj.svc.cluster.local. 5 IN A 10.42.0.7"},
		{"db-0.db.proj.svc.cluster.local", dns.TypeA, "NOERROR\ndb-0.db.proj.svc.cluster.local. 5 IN A 10.42.0.5"},
		{"10-42-0-6.db.proj.svc.cluster.local", dns.TypeA, "NOERROR\n10-42-0-6.db.proj.svc.cluster.local. 5 IN A 10.42.0.6"},
		{"empty.proj.svc.cluster.local", dns.TypeA, "NOERROR\n" + soa},
		{"_http._tcp.web.proj.svc.cluster.local", dns.TypeSRV, "NOERROR\n_http._tcp.web.proj.svc.cluster.local. 5 IN SRV 0 100 80 web.proj.svc.cluster.local.\n" +
			"extra: web.proj.svc.cluster.local. 5 IN A 10.43.0.5\nextra: web.proj.svc.cluster.local. 5 IN AAAA fd00:43::5"},
		{"_http._tcp.db.proj.svc.cluster.local", dns.TypeSRV, "NOERROR\n_http._tcp.db.proj.svc.cluster.local. 5 IN SRV 0 100 80 10-42-0-6.db.proj.svc.cluster.local.\n" +
			"_http._tcp.db.proj.svc.cluster.local. 5 IN SRV 0 100 80 10-42-0-7.db.proj.svc.cluster.local.\n_http._tcp.db.proj.svc.cluster.local. 5 IN SRV 0 100 80 db-0.db.proj.svc.cluster.local.\n" +
			"extra: 10-42-0-6.db.proj.svc.cluster.local. 5 IN A 10.42.0.6\nextra: 10-42-0-7.db.proj.svc.cluster.local. 5 IN A 10.42.0.7\nextra: db-0.db.proj.svc.cluster.local. 5 IN A 10.42.0.5"},
		{"_tcp.web.proj.svc.cluster.local", dns.TypeA, "NOERROR\n" + soa},
		{"_udp.web.proj.svc.cluster.local", dns.TypeA, "NXDOMAIN\n" + soa},
		{"5.0.43.10.in-addr.arpa", dns.TypePTR, "NOERROR\n5.0.43.10.in-addr.arpa. 5 IN PTR web.proj.svc.cluster.local."},
		{"5.0.42.10.in-addr.arpa", dns.TypePTR, "NOERROR\n5.0.42.10.in-addr.arpa. 5 IN PTR db-0.db.proj.svc.cluster.local."},
		{"9.9.42.10.in-addr.arpa", dns.TypePTR, "NXDOMAIN\n" + soa},
		{"10-42-0-99.proj.pod.cluster.local", dns.TypeA, "NOERROR\n10-42-0-99.proj.pod.cluster.local. 5 IN A 10.42.0.99"},
		{"10-42-0-99.proj.pod.cluster.local", dns.TypeAAAA, "NOERROR\n" + soa},
		{"x.proj.pod.cluster.local", dns.TypeA, "NXDOMAIN\n" + soa},
		{"nobody.proj.svc.cluster.local", dns.TypeA, "NXDOMAIN\n" + soa},
		{"web.nowhere.svc.cluster.local", dns.TypeA, "NXDOMAIN\n" + soa},
		{"proj.svc.cluster.local", dns.TypeA, "NOERROR\n" + soa},
		{"svc.cluster.local", dns.TypeA, "NOERROR\n" + soa},
		{"example.com.cluster.local", dns.TypeA, "NXDOMAIN\n" + soa},
		{"dns-version.cluster.local", dns.TypeTXT, "NOERROR\ndns-version.cluster.local. 5 IN TXT \"1.1.0\""},
		{"in.proj.svc.cluster.local", dns.TypeA, "NOERROR\nin.proj.svc.cluster.local. 5 IN CNAME web.proj.svc.cluster.local.\nweb.proj.svc.cluster.local. 5 IN A 10.43.0.5"},
		{"out.proj.svc.cluster.local", dns.TypeCNAME, "NOERROR\nout.proj.svc.cluster.local. 5 IN CNAME example.test."},
		{"example.com", dns.TypeA, "SERVFAIL foreign"},
	}
	for _, tt := range tests {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(network+" "+dns.TypeToString[tt.typ]+" "+tt.name, func(t *testing.T) {
				if diff := cmp.Diff(tt.want, show(f.ask(network, tt.name, tt.typ, nil))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestChangesAreSeen(t *testing.T) {
	f := start(t, "")
	f.zone.Update(map[string]*Service{"proj/db": nil, "proj/web": {Namespace: "proj", Name: "web", ClusterIPs: addrs("10.43.0.99")}}, false)
	for name, want := range map[string]string{
		"db.proj.svc.cluster.local":      "NXDOMAIN",
		"db-0.db.proj.svc.cluster.local": "NXDOMAIN",
		"www.proj.svc.cluster.local":     "NXDOMAIN",
		"web.proj.svc.cluster.local":     "NOERROR\nweb.proj.svc.cluster.local. 5 IN A 10.43.0.99",
	} {
		if got := show(f.ask("udp", name, dns.TypeA, nil)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	f.zone.Update(nil, true)
	if got := f.ask("udp", "proj.svc.cluster.local", dns.TypeA, nil); got.Rcode != dns.RcodeNameError {
		t.Errorf("a namespace without Services is still known: %s", show(got))
	}
}

func TestHeadlessTurns(t *testing.T) {
	f := start(t, "")
	first := map[string]int{}
	for range 200 {
		r := f.ask("udp", "db.proj.svc.cluster.local", dns.TypeA, nil)
		first[r.Answer[0].(*dns.A).A.String()]++
	}
	if len(first) != 3 {
		t.Errorf("first addresses: %v, want all three", first)
	}
}

func TestLargeAnswers(t *testing.T) {
	f := start(t, "")
	big := &Service{Namespace: "proj", Name: "big"}
	for i := range 500 {
		big.Endpoints = append(big.Endpoints, Endpoint{Addr: netip.AddrFrom4([4]byte{10, 42, byte(i >> 8), byte(i)})})
	}
	f.zone.Update(map[string]*Service{"proj/big": big}, false)
	tests := []struct {
		name, network string
		size          uint16
		min, max, len int
	}{
		{"plain UDP", "udp", 0, 25, 32, 512},
		{"EDNS", "udp", 1232, 65, 80, 1232},
		{"EDNS, greedy", "udp", 4096, 65, 80, 1232},
		{"TCP", "tcp", 0, 500, 500, 65535},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := f.ask(tt.network, "big.proj.svc.cluster.local", dns.TypeA, func(m *dns.Msg) {
				if tt.size > 0 {
					m.SetEdns0(tt.size, false)
				}
			})
			r.Compress = true
			if n := len(r.Answer); n < tt.min || n > tt.max {
				t.Errorf("got %d addresses, want %d to %d", n, tt.min, tt.max)
			}
			if r.Truncated != (len(r.Answer) < 500) {
				t.Errorf("truncated is %v with %d addresses", r.Truncated, len(r.Answer))
			}
			if r.Len() > tt.len {
				t.Errorf("answer has %d bytes, want at most %d", r.Len(), tt.len)
			}
			if (r.IsEdns0() != nil) != (tt.size > 0) {
				t.Errorf("answer has EDNS: %v", r.IsEdns0() != nil)
			}
		})
	}
}

func TestOddQuestions(t *testing.T) {
	f := start(t, "")
	tests := []struct {
		name string
		edit func(*dns.Msg)
		want int
	}{
		{"another opcode", func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }, dns.RcodeNotImplemented},
		{"two questions", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, dns.RcodeFormatError},
		{"another class", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, dns.RcodeRefused},
		{"unknown EDNS version", func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }, dns.RcodeBadVers},
		{"EDNS option", func(m *dns.Msg) {
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "24a5ac1223344556"})
		}, dns.RcodeSuccess},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := new(dns.Msg)
			m.SetQuestion("web.proj.svc.cluster.local.", dns.TypeA)
			tt.edit(m)
			r, _, err := (&dns.Client{Timeout: 2 * time.Second}).Exchange(m, f.addr)
			if err != nil {
				t.Fatal(err)
			}
			if r.Rcode != tt.want {
				t.Errorf("got %s, want %s", dns.RcodeToString[r.Rcode], dns.RcodeToString[tt.want])
			}
		})
	}
}

// upstream is a resolver that counts its questions.
func upstream(t *testing.T, addr string, handler func(*dns.Msg, *dns.Msg)) *atomic.Int64 {
	var asked atomic.Int64
	mux := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		asked.Add(1)
		r := new(dns.Msg)
		r.SetReply(m)
		handler(m, r)
		if w.LocalAddr().Network() == "udp" {
			r.Truncate(1232)
		}
		w.WriteMsg(r)
	})
	for _, network := range []string{"udp", "tcp"} {
		ready := make(chan struct{})
		s := &dns.Server{Addr: addr, Net: network, Handler: mux, NotifyStartedFunc: func() { close(ready) }}
		done := make(chan error, 1)
		go func() { done <- s.ListenAndServe() }()
		select {
		case <-ready:
		case err := <-done:
			t.Skipf("cannot serve on %s: %v", addr, err)
		}
		t.Cleanup(func() { s.Shutdown() })
	}
	return &asked
}

func answerA(m, r *dns.Msg) {
	rr, _ := dns.NewRR(m.Question[0].Name + " 30 IN A 192.0.2.80")
	if m.Question[0].Qtype == dns.TypeA {
		r.Answer = append(r.Answer, rr)
	}
}

func TestForwarding(t *testing.T) {
	leak.Root(t, "a resolver listens on port 53")
	asked := upstream(t, "127.53.0.1:53", func(m, r *dns.Msg) {
		switch m.Question[0].Name {
		case "missing.test.":
			r.Rcode = dns.RcodeNameError
		case "big.test.":
			for i := range 200 {
				rr, _ := dns.NewRR(fmt.Sprintf("big.test. 30 IN A 192.0.2.%d", i))
				r.Answer = append(r.Answer, rr)
			}
		default:
			answerA(m, r)
		}
	})
	f := start(t, "# test\nnameserver 127.53.0.1\n")
	t.Run("cache", func(t *testing.T) {
		before := asked.Load()
		for range 5 {
			if got := show(f.ask("udp", "Example.test", dns.TypeA, nil)); !strings.HasPrefix(got, "NOERROR foreign\nexample.test. 30 IN A 192.0.2.80") {
				t.Fatal(got)
			}
		}
		if n := asked.Load() - before; n != 1 {
			t.Errorf("asked %d times, want 1", n)
		}
	})
	t.Run("coalescing", func(t *testing.T) {
		before := asked.Load()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { f.ask("udp", "burst.test", dns.TypeA, nil) })
		}
		wg.Wait()
		if n := asked.Load() - before; n > 3 {
			t.Errorf("asked %d times for 20 equal questions", n)
		}
	})
	t.Run("missing", func(t *testing.T) {
		if got := f.ask("udp", "missing.test", dns.TypeA, nil); got.Rcode != dns.RcodeNameError {
			t.Error(show(got))
		}
	})
	t.Run("cluster names never leave", func(t *testing.T) {
		before := asked.Load()
		for _, name := range []string{"example.com.proj.svc.cluster.local", "nobody.cluster.local", "9.9.43.10.in-addr.arpa"} {
			f.ask("udp", name, dns.TypeA, nil)
		}
		if n := asked.Load() - before; n != 0 {
			t.Errorf("%d questions left", n)
		}
	})
	t.Run("external name", func(t *testing.T) {
		want := "NOERROR\nexample.test. 30 IN A 192.0.2.80\nout.proj.svc.cluster.local. 5 IN CNAME example.test."
		if diff := cmp.Diff(want, show(f.ask("udp", "out.proj.svc.cluster.local", dns.TypeA, nil))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("large", func(t *testing.T) {
		if r := f.ask("udp", "big.test", dns.TypeA, nil); !r.Truncated || len(r.Answer) == 0 {
			t.Errorf("UDP: truncated %v with %d records", r.Truncated, len(r.Answer))
		}
		if r := f.ask("tcp", "big.test", dns.TypeA, nil); r.Truncated || len(r.Answer) != 200 {
			t.Errorf("TCP: truncated %v with %d records", r.Truncated, len(r.Answer))
		}
	})
}

func TestNoResolverFailsAtOnce(t *testing.T) {
	f := start(t, "search example.com\n")
	begin := time.Now()
	if got := f.ask("udp", "example.com", dns.TypeA, nil); got.Rcode != dns.RcodeServerFailure {
		t.Error(show(got))
	}
	if d := time.Since(begin); d > 500*time.Millisecond {
		t.Errorf("took %s", d)
	}
}

func TestNameservers(t *testing.T) {
	conf := "# comment\nnameserver 192.0.2.53\nnameserver 127.0.0.1\noptions ndots:1\nnameserver fd00::53\nnameserver nonsense\n"
	got := nameservers(strings.NewReader(conf), []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:53")})
	want := []string{"192.0.2.53:53", "[fd00::53]:53"}
	if diff := cmp.Diff(want, []string{got[0].String(), got[1].String()}); diff != "" || len(got) != 2 {
		t.Errorf("got %v: %s", got, diff)
	}
}

func TestFeedAndFile(t *testing.T) {
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "dns.sock"), filepath.Join(dir, "zone.json")
	z, err := NewZone("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { ServeFeed(ctx, socket, z, log) })
	wg.Go(func() { z.Keep(ctx, file, log) })
	r := &Remote{Socket: socket}
	defer r.Close()
	for end := time.Now().Add(3 * time.Second); ; {
		if err = r.Update(testServices(), true); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if err := r.Update(map[string]*Service{"proj/db": nil}, false); err != nil {
		t.Fatal(err)
	}
	want := testServices()
	delete(want, "proj/db")
	sameAddr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, z.Services(), sameAddr); diff != "" {
		t.Errorf("fed (-want +got):\n%s", diff)
	}
	cancel()
	wg.Wait()
	again, err := NewZone("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Load(file); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, again.Services(), sameAddr); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	if err := r.Update(nil, true); err == nil {
		t.Error("update of a server that has gone: no error")
	}
	if err := again.Load(filepath.Join(dir, "none")); err != nil {
		t.Errorf("no file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	m := new(dns.Msg)
	m.SetQuestion("web.proj.svc.cluster.local.", dns.TypeA)
	m.SetEdns0(1232, true)
	seed, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1})
	z, err := NewZone("cluster.local")
	if err != nil {
		f.Fatal(err)
	}
	z.Update(testServices(), true)
	f.Fuzz(func(t *testing.T, msg []byte) {
		var buf [256]byte
		q, rcode, ok := parse(msg, buf[:])
		if !ok {
			return
		}
		var out []byte
		if rcode != rcodeOK {
			out = q.fail(nil, rcode)
		} else {
			var v verdict
			if out, v = z.local(&q, nil, q.size, nil); v != answered {
				return
			}
		}
		if len(out) > maxUDP+optLen {
			t.Errorf("answer of %d bytes", len(out))
		}
		if err := new(dns.Msg).Unpack(out); err != nil && rcode == rcodeOK {
			t.Errorf("answer to %x does not parse: %v: %x", msg, err, out)
		}
		if rcode == rcodeOK {
			fit(&q, msg, 512)
		}
		spellOut(msg)
		lifetime(append([]byte{}, msg...))
	})
}

// BenchmarkServer counts questions answered per second, with 64 in flight over two sockets; the client runs on the same processors.
func BenchmarkServer(b *testing.B) {
	f := start(b, "")
	all := map[string]*Service{}
	for i := range 10000 {
		s := &Service{Namespace: "n", Name: fmt.Sprintf("s%d", i), ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 43, byte(i >> 8), byte(i)})}}
		all[s.Key()] = s
	}
	f.zone.Update(all, true)
	m := new(dns.Msg)
	m.SetQuestion("s77.n.svc.cluster.local.", dns.TypeA)
	msg, err := m.Pack()
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range 2 {
		c, err := net.Dial("udp", f.addr)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		tokens := make(chan struct{}, 32)
		wg.Go(func() {
			buf := make([]byte, 1500)
			for range tokens {
				c.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
		})
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				tokens <- struct{}{}
				if _, err := c.Write(msg); err != nil {
					break
				}
			}
			close(tokens)
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "questions/s")
}

// BenchmarkAnswer is the work per question without the sockets.
func BenchmarkAnswer(b *testing.B) {
	z, err := NewZone("cluster.local")
	if err != nil {
		b.Fatal(err)
	}
	z.Update(testServices(), true)
	m := new(dns.Msg)
	m.SetQuestion("db.proj.svc.cluster.local.", dns.TypeA)
	msg, err := m.Pack()
	if err != nil {
		b.Fatal(err)
	}
	var buf [256]byte
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		q, _, _ := parse(msg, buf[:])
		out, _ = z.local(&q, out, q.size, nil)
	}
}

// BenchmarkChange is one Service's change among 10,000.
func BenchmarkChange(b *testing.B) {
	z, err := NewZone("cluster.local")
	if err != nil {
		b.Fatal(err)
	}
	all := map[string]*Service{}
	for i := range 10000 {
		s := &Service{Namespace: "n", Name: fmt.Sprintf("s%d", i), ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 43, byte(i >> 8), byte(i)})}}
		all[s.Key()] = s
	}
	z.Update(all, true)
	one := map[string]*Service{"n/s77": all["n/s77"]}
	for b.Loop() {
		z.Update(one, false)
	}
}
