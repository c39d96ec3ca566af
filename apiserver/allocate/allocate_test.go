package allocate

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestAddressesGoRound(t *testing.T) {
	a := NewAddresses(netip.MustParsePrefix("10.0.0.0/29"))
	var got []string
	for {
		ip, err := a.Next()
		if err != nil {
			break
		}
		got = append(got, ip.String())
	}
	want := []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	a.Release(netip.MustParseAddr("10.0.0.3"))
	if ip, err := a.Next(); err != nil || ip.String() != "10.0.0.3" {
		t.Errorf("Next after a release: %v, %v", ip, err)
	}
	if err := a.Take(netip.MustParseAddr("10.0.0.3")); !errors.Is(err, errkind.Exhausted) {
		t.Errorf("Take of a taken address: %v", err)
	}
	for _, ip := range []string{"10.0.0.0", "10.0.0.7", "10.0.1.1"} {
		if err := a.Take(netip.MustParseAddr(ip)); !errors.Is(err, errkind.Invalid) {
			t.Errorf("Take(%s): %v", ip, err)
		}
	}
}

// The lower part of a range is for those who ask by name, and a freed address rests until the range has been gone round.
func TestAddressesStartAboveTheReservedPart(t *testing.T) {
	a := NewAddresses(netip.MustParsePrefix("10.96.0.0/16"))
	first, err := a.Next()
	if err != nil || first.String() != "10.96.1.1" {
		t.Fatalf("first address %v, %v", first, err)
	}
	a.Release(first)
	if second, err := a.Next(); err != nil || second == first {
		t.Errorf("the freed address was given at once: %v, %v", second, err)
	}
}

func TestPorts(t *testing.T) {
	p := NewPorts(30000, 30003)
	if err := p.Take(30001); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int32{30000, 30002, 30003} {
		if got, err := p.Next(); err != nil || got != want {
			t.Errorf("Next = %d, %v, want %d", got, err, want)
		}
	}
	if _, err := p.Next(); !errors.Is(err, errkind.Exhausted) {
		t.Errorf("Next of a full range: %v", err)
	}
	if err := p.Take(29999); !errors.Is(err, errkind.Invalid) {
		t.Errorf("Take out of range: %v", err)
	}
}

func newServices(t *testing.T) *Services {
	t.Helper()
	s, err := New(Config{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func service(kind corev1.ServiceType, ports ...int32) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec: corev1.ServiceSpec{Type: kind, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}}}
	for _, port := range ports {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Port: port, Protocol: corev1.ProtocolTCP})
	}
	return svc
}

func assign(t *testing.T, s *Services, svc, old *corev1.Service) (undo, done func()) {
	t.Helper()
	undo, done, err := s.Assign(context.Background(), svc, old, false)
	if err != nil {
		t.Fatal(err)
	}
	return undo, done
}

func TestLifeOfAService(t *testing.T) {
	s := newServices(t)
	svc := service(corev1.ServiceTypeNodePort, 80)
	_, done := assign(t, s, svc, nil)
	done()
	ip, port := svc.Spec.ClusterIP, svc.Spec.Ports[0].NodePort
	if ip == "" || port == 0 || len(svc.Spec.ClusterIPs) != 1 {
		t.Fatalf("assigned %q, %d", ip, port)
	}

	// Another Service cannot have either.
	other := service(corev1.ServiceTypeClusterIP, 80)
	other.Spec.ClusterIP, other.Spec.ClusterIPs = ip, []string{ip}
	_, _, err := s.Assign(context.Background(), other, nil, false)
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "failed to allocate IP "+ip+": provided IP is already allocated") {
		t.Errorf("a taken address: %v", err)
	}
	greedy := service(corev1.ServiceTypeNodePort, 80)
	greedy.Spec.Ports[0].NodePort = port
	_, _, err = s.Assign(context.Background(), greedy, nil, false)
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.ports[0].nodePort: Invalid value: ") ||
		!strings.Contains(err.Error(), "provided port is already allocated") {
		t.Errorf("a taken port: %v", err)
	}

	// Nor can it take another address itself: that is for validation to refuse, and nothing is taken for it.
	moved := svc.DeepCopy()
	moved.Spec.ClusterIP, moved.Spec.ClusterIPs = "10.0.0.99", []string{"10.0.0.99"}
	assign(t, s, moved, svc)
	if err := s.addresses[corev1.IPv4Protocol].Take(netip.MustParseAddr("10.0.0.99")); err != nil {
		t.Errorf("an address was taken for an update that cannot be: %v", err)
	}

	// An update that gives up the node port frees it once it is stored, not before.
	now := svc.DeepCopy()
	now.Spec.Type, now.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 0
	_, done = assign(t, s, now, svc)
	if err := s.ports.Take(port); err == nil {
		t.Error("the port is free before the update is stored")
	}
	done()
	if err := s.ports.Take(port); err != nil {
		t.Errorf("the port is not free after the update: %v", err)
	}
	s.Release(now)
	if err := s.addresses[corev1.IPv4Protocol].Take(netip.MustParseAddr(ip)); err != nil {
		t.Errorf("the address is not free after the removal: %v", err)
	}
}

func TestNothingStaysTaken(t *testing.T) {
	s := newServices(t)
	taken := func() int { return len(s.addresses[corev1.IPv4Protocol].taken) + len(s.ports.taken) }
	undo, _ := assign(t, s, service(corev1.ServiceTypeLoadBalancer, 80, 81), nil)
	undo()
	if n := taken(); n != 0 {
		t.Errorf("%d taken after undo", n)
	}
	if _, _, err := s.Assign(context.Background(), service(corev1.ServiceTypeLoadBalancer, 80, 81), nil, true); err != nil || taken() != 0 {
		t.Errorf("%d taken after a dry run, %v", taken(), err)
	}
	bad := service(corev1.ServiceTypeNodePort, 80)
	bad.Spec.Ports[0].NodePort = 80
	if _, _, err := s.Assign(context.Background(), bad, nil, false); err == nil || taken() != 0 {
		t.Errorf("%d taken after a refusal, %v", taken(), err)
	}
}

func TestWhatEachTypeGets(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*corev1.ServiceSpec)
		ips      int
		ports    int
		distinct int
	}{
		"cluster":       {func(s *corev1.ServiceSpec) {}, 1, 0, 0},
		"headless":      {func(s *corev1.ServiceSpec) { s.ClusterIPs, s.ClusterIP = []string{"None"}, "None" }, 0, 0, 0},
		"external name": {func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeExternalName }, 0, 0, 0},
		"two protocols": {func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort; s.Ports[1].Port = 80 }, 1, 2, 1},
		"balancer":      {func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeLoadBalancer }, 1, 2, 2},
		"no node ports": {func(s *corev1.ServiceSpec) {
			s.Type = corev1.ServiceTypeLoadBalancer
			s.AllocateLoadBalancerNodePorts = new(bool)
		}, 1, 0, 0},
		"local balancer":  {func(s *corev1.ServiceSpec) { s.Type, s.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, "Local" }, 1, 2, 3},
		"unserved family": {func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServices(t)
			svc := service(corev1.ServiceTypeClusterIP, 80, 81)
			c.change(&svc.Spec)
			assign(t, s, svc, nil)
			ports := 0
			for _, port := range svc.Spec.Ports {
				if port.NodePort != 0 {
					ports++
				}
			}
			if len(held(svc)) != c.ips || ports != c.ports || len(heldPorts(svc)) != c.distinct {
				t.Errorf("addresses %v, ports %+v, health %d", svc.Spec.ClusterIPs, svc.Spec.Ports, svc.Spec.HealthCheckNodePort)
			}
		})
	}
}

// After a restart the pools are rebuilt from what is stored; nothing may then be given twice.
func TestNeverTwiceOverRestarts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	stored := map[int]*corev1.Service{}
	s := newServices(t)
	for step := range 2000 {
		switch id := rng.IntN(150); {
		case stored[id] != nil:
			s.Release(stored[id])
			delete(stored, id)
		default:
			svc := service(corev1.ServiceTypeNodePort, 80)
			_, done := assign(t, s, svc, nil)
			done()
			stored[id] = svc
		}
		if step%500 == 0 {
			s = newServices(t)
			for _, svc := range stored {
				if problems := s.Adopt(svc); len(problems) > 0 {
					t.Fatal(problems)
				}
			}
		}
	}
	seen := map[string]bool{}
	for _, svc := range stored {
		for _, id := range []string{svc.Spec.ClusterIP, string(rune(svc.Spec.Ports[0].NodePort))} {
			if seen[id] {
				t.Errorf("%q was given twice", id)
			}
			seen[id] = true
		}
	}
}

func TestConfig(t *testing.T) {
	v4 := netip.MustParsePrefix("10.0.0.0/24")
	for name, config := range map[string]Config{
		"no range":  {},
		"two of v4": {CIDRs: []netip.Prefix{v4, netip.MustParsePrefix("10.1.0.0/24")}},
		"tiny":      {CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/31")}},
		"ports":     {CIDRs: []netip.Prefix{v4}, FirstNodePort: 10, LastNodePort: 5},
	} {
		if _, err := New(config); !errors.Is(err, errkind.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
