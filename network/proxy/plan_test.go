package proxy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/internal/testkit"
	"github.com/cuppa-project/cuppa/network/nft"
)

func testConfig() Config {
	return Config{
		Table:        "cuppa",
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.42.0.0/24"), netip.MustParsePrefix("fd00:42::/64")},
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd00:42::/56")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("fd00:43::/112")},
		DNS:          []netip.Addr{netip.MustParseAddr("10.43.0.10")},
	}
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// endpoints reads a list such as "10.42.0.2:80 10.42.1.2:80/remote 10.42.0.3:80/terminating".
func endpoints(list string) []Endpoint {
	var out []Endpoint
	for _, word := range strings.Fields(list) {
		addr, flags, _ := strings.Cut(word, "/")
		e := Endpoint{AddrPort: netip.MustParseAddrPort(addr), Local: true, Ready: true, Serving: true}
		for _, f := range strings.Split(flags, ",") {
			switch f {
			case "remote":
				e.Local = false
			case "unready":
				e.Ready, e.Serving = false, false
			case "terminating":
				e.Ready, e.Terminating = false, true
			}
		}
		out = append(out, e)
	}
	return out
}

func service(name, ip string, port uint16, eps string) *Service {
	return &Service{Name: name, ClusterIPs: addrs(ip), Ports: []Port{{Protocol: TCP, Port: port, Endpoints: endpoints(eps)}}}
}

func states() []*state {
	var all []*state
	for _, l := range layouts(testConfig()) {
		all = append(all, newState(l))
	}
	return all
}

func TestRules(t *testing.T) {
	var out strings.Builder
	for _, s := range states() {
		s.change(map[string]*Service{
			"a/plain": service("a/plain", "10.43.0.1", 80, "10.42.0.2:8080 10.42.0.3:8080"),
			"a/stay":  {Name: "a/stay", Affinity: 3 * time.Hour, ClusterIPs: addrs("10.43.0.2", "fd00:43::2"), Ports: []Port{{Protocol: TCP, Port: 80, Endpoints: endpoints("10.42.0.2:8080 [fd00:42::2]:8080")}}},
		})
		table, _, _ := s.whole()
		out.WriteString(table.String())
	}
	testkit.Golden(t, "rules.golden", out.String())
}

func TestElements(t *testing.T) {
	with := func(s *Service, fn func(*Service)) *Service { fn(s); return s }
	tests := []struct {
		name string
		svc  *Service
	}{
		{"cluster address", service("n/s", "10.43.0.1", 80, "10.42.0.2:8080 10.42.1.3:8080/remote 10.42.0.9:8080/unready")},
		{"no endpoint", service("n/s", "10.43.0.1", 80, "10.42.0.9:8080/unready")},
		{"only terminating", service("n/s", "10.43.0.1", 80, "10.42.0.2:8080/terminating")},
		{"terminating beside ready", service("n/s", "10.43.0.1", 80, "10.42.0.2:8080/terminating 10.42.0.3:8080")},
		{"headless", &Service{Name: "n/s", Ports: []Port{{Protocol: TCP, Port: 80, Endpoints: endpoints("10.42.0.2:80")}}}},
		{"node port and published", with(service("n/s", "10.43.0.1", 80, "10.42.0.2:8080"), func(s *Service) {
			s.Ports[0].NodePort, s.Ports[0].Published = 30080, true
		})},
		{"published on one address", with(service("n/s", "10.43.0.1", 80, "10.42.0.2:8080"), func(s *Service) {
			s.Ports[0].Published, s.Ports[0].PublishedOn = true, addrs("127.0.0.1", "::1")
		})},
		{"external address", with(service("n/s", "10.43.0.1", 80, "10.42.0.2:8080"), func(s *Service) { s.ExternalIPs = addrs("203.0.113.9") })},
		{"external local", with(service("n/s", "10.43.0.1", 80, "10.42.0.2:8080 10.42.1.2:8080/remote"), func(s *Service) {
			s.ExternalLocal, s.Ports[0].NodePort = true, 30080
		})},
		{"external local, none here", with(service("n/s", "10.43.0.1", 80, "10.42.1.2:8080/remote"), func(s *Service) {
			s.ExternalLocal, s.Ports[0].NodePort = true, 30080
		})},
		{"internal local, none here", with(service("n/s", "10.43.0.1", 80, "10.42.1.2:8080/remote"), func(s *Service) { s.InternalLocal = true })},
		{"affinity", with(service("n/s", "10.43.0.1", 80, "10.42.0.2:8080"), func(s *Service) { s.Affinity = time.Minute })},
		{"dual stack", with(service("n/s", "10.43.0.1", 80, "10.42.0.2:8080 [fd00:42::2]:8080"), func(s *Service) {
			s.ClusterIPs = append(s.ClusterIPs, addrs("fd00:43::1")...)
		})},
		{"udp and sctp", &Service{Name: "n/s", ClusterIPs: addrs("10.43.0.1"), Ports: []Port{
			{Protocol: UDP, Port: 53, Endpoints: endpoints("10.42.0.2:53")}, {Protocol: SCTP, Port: 53, Endpoints: endpoints("10.42.0.2:53")},
		}}},
	}
	var out strings.Builder
	for _, tt := range tests {
		fmt.Fprintf(&out, "== %s\n", tt.name)
		for _, s := range states() {
			p := s.change(map[string]*Service{"n/s": tt.svc})
			for _, e := range p.update.Add {
				fmt.Fprintln(&out, s.layout.family, s.elementTable().Format(e))
			}
		}
	}
	testkit.Golden(t, "elements.golden", out.String())
}

func (s *state) elementTable() nft.Table {
	t, _, _ := s.whole()
	return t
}

func TestChanges(t *testing.T) {
	steps := []struct {
		name    string
		changed map[string]*Service
	}{
		{"first", map[string]*Service{"n/s": service("n/s", "10.43.0.1", 80, "10.42.0.2:80 10.42.0.3:80 10.42.0.4:80")}},
		{"nothing changes", map[string]*Service{"n/s": service("n/s", "10.43.0.1", 80, "10.42.0.4:80 10.42.0.3:80 10.42.0.2:80")}},
		{"one goes: the last moves into its slot", map[string]*Service{"n/s": service("n/s", "10.43.0.1", 80, "10.42.0.3:80 10.42.0.4:80")}},
		{"one is replaced", map[string]*Service{"n/s": service("n/s", "10.43.0.1", 80, "10.42.0.3:80 10.42.0.5:80")}},
		{"one comes", map[string]*Service{"n/s": service("n/s", "10.43.0.1", 80, "10.42.0.3:80 10.42.0.5:80 10.42.0.6:80")}},
		{"all go", map[string]*Service{"n/s": service("n/s", "10.43.0.1", 80, "")}},
		{"the Service goes", map[string]*Service{"n/s": nil}},
		{"two claim a port: the older has it", map[string]*Service{"n/young": claimant("n/young", "10.43.0.3", 2), "n/old": claimant("n/old", "10.43.0.2", 1)}},
		{"the older goes: the younger gets it", map[string]*Service{"n/old": nil}},
		{"the older comes back", map[string]*Service{"n/old": claimant("n/old", "10.43.0.2", 1)}},
	}
	s := states()[0]
	var out strings.Builder
	for _, step := range steps {
		fmt.Fprintf(&out, "== %s\n", step.name)
		p := s.change(step.changed)
		for _, c := range p.update.Chains {
			out.WriteString(c.String())
		}
		table := s.elementTable()
		for _, e := range p.update.Remove {
			fmt.Fprintln(&out, "-", table.Format(e))
		}
		for _, e := range p.update.Add {
			fmt.Fprintln(&out, "+", table.Format(e))
		}
	}
	testkit.Golden(t, "changes.golden", out.String())
}

func claimant(name, ip string, rank int64) *Service {
	s := service(name, ip, 8000, "10.42.0.2:80")
	s.Rank, s.Ports[0].Published = rank, true
	return s
}

// TestChangesAddUp compares, over random histories, what the single changes leave in the kernel with what a fresh load would put there.
func TestChangesAddUp(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		s := states()[0]
		kernel := map[nft.Element]bool{}
		for range 60 {
			name := fmt.Sprintf("n/s%d", rnd.IntN(6))
			var svc *Service
			if rnd.IntN(4) > 0 {
				svc = randomService(rnd, name)
			}
			p := s.change(map[string]*Service{name: svc})
			for _, e := range p.update.Remove {
				if !kernel[e] {
					t.Fatalf("removes what is not there: %s", s.elementTable().Format(e))
				}
				delete(kernel, e)
			}
			for _, e := range p.update.Add {
				if kernel[e] {
					t.Fatalf("adds what is there: %s", s.elementTable().Format(e))
				}
				kernel[e] = true
			}
			_, want, _ := s.whole()
			for _, e := range want {
				isClass := e.Set == setClasses || e.Set == byPort+setClasses
				if !kernel[e] && !isClass {
					t.Fatalf("missing: %s", s.elementTable().Format(e))
				}
			}
			for e := range kernel {
				isClass := e.Set == setClasses || e.Set == byPort+setClasses
				if !isClass && !slices.Contains(want, e) {
					t.Fatalf("left over: %s", s.elementTable().Format(e))
				}
			}
		}
	}
}

func randomService(rnd *rand.Rand, name string) *Service {
	ip := netip.AddrFrom4([4]byte{10, 43, 0, name[len(name)-1]})
	s := &Service{Name: name, Rank: rnd.Int64N(3), ClusterIPs: []netip.Addr{ip}}
	s.ExternalLocal, s.InternalLocal = rnd.IntN(3) == 0, rnd.IntN(3) == 0
	if rnd.IntN(3) == 0 {
		s.ExternalIPs = addrs("203.0.113.9")
	}
	if rnd.IntN(3) == 0 {
		s.Affinity = time.Minute
	}
	p := Port{Protocol: TCP, Port: 80, Published: rnd.IntN(2) == 0}
	if rnd.IntN(2) == 0 {
		p.NodePort = uint16(30000 + rnd.IntN(2))
	}
	for i := range rnd.IntN(6) {
		p.Endpoints = append(p.Endpoints, Endpoint{
			AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 42, 0, byte(2 + i + rnd.IntN(3))}), 80),
			Ready:    rnd.IntN(4) > 0, Serving: true, Terminating: rnd.IntN(4) == 0, Local: rnd.IntN(2) == 0,
		})
	}
	s.Ports = []Port{p}
	return s
}

func TestArrangeKeepsWhatStays(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	pick := func() []netip.AddrPort {
		var out []netip.AddrPort
		for i := range 8 {
			if rnd.IntN(2) == 0 {
				out = append(out, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 42, 0, byte(i)}), 80))
			}
		}
		return out
	}
	before := pick()
	for range 500 {
		want := pick()
		got := arrange(before, want)
		sorted := slices.SortedFunc(slices.Values(got), netip.AddrPort.Compare)
		if !slices.Equal(sorted, want) {
			t.Fatalf("arrange(%v, %v) = %v", before, want, got)
		}
		moved, stay := 0, 0
		for i, e := range before {
			if slices.Contains(want, e) {
				stay++
				if i >= len(got) || got[i] != e {
					moved++
				}
			}
		}
		if shrink := max(0, len(before)-len(got)); moved > shrink {
			t.Fatalf("%d of %d moved though only %d slots went: %v -> %v", moved, stay, shrink, before, got)
		}
		before = got
	}
}
