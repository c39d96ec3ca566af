package allocate

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Config says what there is to hand out.
type Config struct {
	// CIDRs are the ranges of Service addresses, at most one of each family. At least one is needed.
	CIDRs []netip.Prefix
	// FirstNodePort and LastNodePort bound the node ports; both zero: 30000 to 32767.
	FirstNodePort, LastNodePort int32
}

// Services assigns addresses and node ports to Services. It is safe for concurrent use.
type Services struct {
	mu        sync.Mutex
	addresses map[corev1.IPFamily]*Addresses
	ports     *Ports
}

// New returns an allocator from which nothing is taken. Adopt tells it of the stored Services before it is used.
func New(config Config) (*Services, error) {
	s := &Services{addresses: map[corev1.IPFamily]*Addresses{}}
	for _, cidr := range config.CIDRs {
		family := familyOf(cidr.Addr())
		if s.addresses[family] != nil {
			return nil, errkind.New(errkind.Invalid, "two ranges of Service addresses are %s: at most one may be", family)
		}
		if cidr.Addr().BitLen()-cidr.Bits() < 2 {
			return nil, errkind.New(errkind.Invalid, "range of Service addresses %s is too small", cidr)
		}
		s.addresses[family] = NewAddresses(cidr)
	}
	if len(s.addresses) == 0 {
		return nil, errkind.New(errkind.Invalid, "no range of Service addresses is given")
	}
	first, last := config.FirstNodePort, config.LastNodePort
	if first == 0 && last == 0 {
		first, last = 30000, 32767
	}
	if first < 1 || last > 65535 || first > last {
		return nil, errkind.New(errkind.Invalid, "node ports %d-%d are no range of ports", first, last)
	}
	s.ports = NewPorts(first, last)
	return s, nil
}

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// Adopt takes what a stored Service holds. What lies outside the ranges, which may have been others when it was stored, or is held
// twice, is reported and left as it is: traffic may depend on it.
func (s *Services) Adopt(svc *corev1.Service) (problems []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ip := range held(svc) {
		if pool := s.addresses[familyOf(ip)]; pool == nil {
			problems = append(problems, fmt.Errorf("service %s/%s: no range for address %s", svc.Namespace, svc.Name, ip))
		} else if err := pool.Take(ip); err != nil {
			problems = append(problems, fmt.Errorf("service %s/%s: address %s: %w", svc.Namespace, svc.Name, ip, err))
		}
	}
	for _, port := range heldPorts(svc) {
		if err := s.ports.Take(port); err != nil {
			problems = append(problems, fmt.Errorf("service %s/%s: node port %d: %w", svc.Namespace, svc.Name, port, err))
		}
	}
	return problems
}

// Assign fills in what svc needs and does not have, and takes what it asks for by name. old is nil for a new Service. The error is an
// API status error, and then nothing has changed hands. undo gives back what was taken; done gives back what old held and
// svc does not any more. With dryRun nothing stays taken.
func (s *Services) Assign(_ context.Context, svc, old *corev1.Service, dryRun bool) (undo, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &taking{s: s, svc: svc}
	if old != nil {
		t.kept = map[netip.Addr]bool{}
		for _, ip := range held(old) {
			t.kept[ip] = true
		}
		t.keptPorts = map[int32]bool{}
		for _, port := range heldPorts(old) {
			t.keptPorts[port] = true
		}
	}
	if err := t.run(); err != nil {
		t.undo()
		return nil, nil, err
	}
	if dryRun {
		t.undo()
		return func() {}, func() {}, nil
	}
	undo = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		t.undo()
	}
	done = func() {
		if old != nil {
			s.giveBack(old, svc)
		}
	}
	return undo, done, nil
}

// Release gives back everything that a removed Service held.
func (s *Services) Release(svc *corev1.Service) { s.giveBack(svc, nil) }

// giveBack returns what old holds and now, if there is one, does not.
func (s *Services) giveBack(old, now *corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep, keepPorts := map[netip.Addr]bool{}, map[int32]bool{}
	if now != nil {
		for _, ip := range held(now) {
			keep[ip] = true
		}
		for _, port := range heldPorts(now) {
			keepPorts[port] = true
		}
	}
	for _, ip := range held(old) {
		if pool := s.addresses[familyOf(ip)]; pool != nil && !keep[ip] {
			pool.Release(ip)
		}
	}
	for _, port := range heldPorts(old) {
		if !keepPorts[port] {
			s.ports.Release(port)
		}
	}
}

// held are the cluster addresses of a Service.
func held(svc *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, text := range svc.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil {
			out = append(out, ip)
		}
	}
	return out
}

// heldPorts are the node ports of a Service, each once: two protocols may share one.
func heldPorts(svc *corev1.Service) []int32 {
	var out []int32
	seen := map[int32]bool{0: true}
	for _, port := range svc.Spec.Ports {
		if !seen[port.NodePort] {
			seen[port.NodePort] = true
			out = append(out, port.NodePort)
		}
	}
	if port := svc.Spec.HealthCheckNodePort; !seen[port] {
		out = append(out, port)
	}
	return out
}

// taking is one Assign under way.
type taking struct {
	s         *Services
	svc       *corev1.Service
	kept      map[netip.Addr]bool // held before, so neither taken nor given back here
	keptPorts map[int32]bool
	ips       []netip.Addr
	ports     []int32
}

func (t *taking) undo() {
	for _, ip := range t.ips {
		t.s.addresses[familyOf(ip)].Release(ip)
	}
	for _, port := range t.ports {
		t.s.ports.Release(port)
	}
	t.ips, t.ports = nil, nil
}

func (t *taking) run() error {
	spec := &t.svc.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	if !(len(spec.ClusterIPs) == 1 && spec.ClusterIPs[0] == corev1.ClusterIPNone) {
		if err := t.takeAddresses(); err != nil {
			return err
		}
	}
	balancer := spec.Type == corev1.ServiceTypeLoadBalancer
	switch {
	case spec.Type == corev1.ServiceTypeNodePort, balancer && ptr.Deref(spec.AllocateLoadBalancerNodePorts, true):
		if err := t.takePorts(true); err != nil {
			return err
		}
	case balancer:
		if err := t.takePorts(false); err != nil { // those asked for by number only
			return err
		}
	}
	if balancer && spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		return t.takeHealthPort()
	}
	return nil
}

func (t *taking) invalid(path *field.Path, value any, cause error) error {
	kind := corev1.SchemeGroupVersion.WithKind("Service").GroupKind()
	return apierrors.NewInvalid(kind, t.svc.Name, field.ErrorList{field.Invalid(path, value, cause.Error())})
}

func (t *taking) full(what string, cause error) error {
	return apierrors.NewInternalError(fmt.Errorf("failed to allocate a %s: %w", what, cause))
}

// takeAddresses takes the addresses asked for, then one of each further family. What is no address is left to validation.
func (t *taking) takeAddresses() error {
	spec := &t.svc.Spec
	path := field.NewPath("spec", "clusterIPs")
	if len(t.kept) > 0 && len(spec.ClusterIPs) > 0 {
		if first, err := netip.ParseAddr(spec.ClusterIPs[0]); err == nil && !t.kept[first] {
			return nil // a Service keeps its first address for life: validation says so
		}
	}
	for _, text := range spec.ClusterIPs {
		ip, err := netip.ParseAddr(text)
		if err != nil || t.kept[ip] {
			continue
		}
		pool := t.s.addresses[familyOf(ip)]
		if pool == nil {
			continue // validation says that the family is not configured
		}
		if err := pool.Take(ip); err != nil {
			return t.invalid(path, spec.ClusterIPs, fmt.Errorf("failed to allocate IP %s: %w", ip, err))
		}
		t.ips = append(t.ips, ip)
	}
	for i := len(spec.ClusterIPs); i < len(spec.IPFamilies); i++ {
		pool := t.s.addresses[spec.IPFamilies[i]]
		if pool == nil {
			break
		}
		ip, err := pool.Next()
		if err != nil {
			return t.full("serviceIP", err)
		}
		t.ips = append(t.ips, ip)
		spec.ClusterIPs = append(spec.ClusterIPs[:i:i], ip.String())
	}
	if len(spec.ClusterIPs) > 0 && spec.ClusterIP == "" {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	return nil
}

// takePorts takes the node ports asked for, and, if fill, one for each port that has none. Ports of one number and several protocols
// share a node port.
func (t *taking) takePorts(fill bool) error {
	ports := t.svc.Spec.Ports
	mine := map[int32]bool{}
	byNumber := map[int32]int32{}
	for i, port := range ports {
		if port.NodePort == 0 {
			continue
		}
		if !mine[port.NodePort] && !t.keptPorts[port.NodePort] {
			if err := t.s.ports.Take(port.NodePort); err != nil {
				return t.invalid(portPath(i), port.NodePort, err)
			}
			t.ports = append(t.ports, port.NodePort)
		}
		mine[port.NodePort] = true
		if byNumber[port.Port] == 0 {
			byNumber[port.Port] = port.NodePort
		}
	}
	for i := range ports {
		port := &ports[i]
		if port.NodePort != 0 || !fill {
			continue
		}
		if byNumber[port.Port] == 0 {
			next, err := t.s.ports.Next()
			if err != nil {
				return t.full("nodePort", err)
			}
			t.ports = append(t.ports, next)
			byNumber[port.Port] = next
		}
		port.NodePort = byNumber[port.Port]
	}
	return nil
}

func portPath(i int) *field.Path { return field.NewPath("spec", "ports").Index(i).Child("nodePort") }

func (t *taking) takeHealthPort() error {
	spec := &t.svc.Spec
	wish := spec.HealthCheckNodePort
	switch {
	case wish == 0:
		next, err := t.s.ports.Next()
		if err != nil {
			return t.full("healthCheckNodePort", err)
		}
		spec.HealthCheckNodePort = next
		t.ports = append(t.ports, next)
	case !t.keptPorts[wish]:
		if err := t.s.ports.Take(wish); err != nil {
			return t.invalid(field.NewPath("spec", "healthCheckNodePort"), wish, err)
		}
		t.ports = append(t.ports, wish)
	}
	return nil
}
