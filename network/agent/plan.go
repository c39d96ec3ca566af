package agent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/network/dns"
	"github.com/cuppa-project/cuppa/network/localport"
	"github.com/cuppa-project/cuppa/network/podnet"
	"github.com/cuppa-project/cuppa/network/proxy"
)

// serviceProxyName is upstream's label for Services that another proxy serves.
const serviceProxyName = "service.kubernetes.io/service-proxy-name"

// served says whether the node's proxy answers for the Service.
func served(s *corev1.Service) bool {
	return s != nil && s.Spec.Type != corev1.ServiceTypeExternalName && s.Labels[serviceProxyName] == ""
}

// published says whether the Service's own ports are open on the nodes: LoadBalancer Services that name no other implementation.
func published(s *corev1.Service) bool {
	return served(s) && s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil
}

// restricted says whether a Service asks for something that would have to be enforced at its published ports and is not. To open them all the
// same would expose what the user wants hidden, so they stay closed, and the status says why.
func restricted(s *corev1.Service) error {
	if len(s.Spec.LoadBalancerSourceRanges) > 0 {
		return errkind.New(errkind.Invalid, "spec.loadBalancerSourceRanges is not supported: remove it to have the ports published to everybody")
	}
	return nil
}

// clusterIPs are the Service's addresses; none for headless ones.
func clusterIPs(s *corev1.Service) []netip.Addr {
	list := s.Spec.ClusterIPs
	if len(list) == 0 {
		list = []string{s.Spec.ClusterIP}
	}
	return parseAddrs(list)
}

func parseAddrs(list []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range list {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// proxyService is what the proxy has to know of a Service; nil if nothing. held says which of its published ports are this Service's.
func proxyService(o observed, node string, held func(portKey) bool) *proxy.Service {
	s := o.service
	if !served(s) || len(clusterIPs(s)) == 0 {
		return nil
	}
	out := &proxy.Service{
		Name: s.Namespace + "/" + s.Name, Rank: s.CreationTimestamp.Unix(), ClusterIPs: clusterIPs(s), ExternalIPs: parseAddrs(s.Spec.ExternalIPs),
		ExternalLocal: s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		InternalLocal: s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
	}
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.Affinity = 3 * time.Hour
		if c := s.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			out.Affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	hostIPs, _ := hostAddrs(s)
	for _, sp := range s.Spec.Ports {
		proto, err := proxy.ParseProtocol(string(sp.Protocol))
		if err != nil {
			continue // the API does not let it in
		}
		p := proxy.Port{Protocol: proto, Port: uint16(sp.Port), NodePort: uint16(sp.NodePort), Endpoints: endpoints(o.slices, sp, node)}
		if published(s) {
			key := keyOf(sp, hostIPs)
			p.Published = held(key)
			if p.Published && key.addr.IsValid() {
				p.PublishedOn = []netip.Addr{key.addr}
			}
		}
		out.Ports = append(out.Ports, p)
	}
	return out
}

// endpoints are the places a Service's port leads to.
func endpoints(list []*discoveryv1.EndpointSlice, sp corev1.ServicePort, node string) []proxy.Endpoint {
	var out []proxy.Endpoint
	for _, slice := range list {
		number := slicePort(slice, sp)
		if number == 0 {
			continue
		}
		for _, e := range slice.Endpoints {
			ready, serving, terminating := conditions(e)
			for _, a := range parseAddrs(e.Addresses) {
				out = append(out, proxy.Endpoint{
					AddrPort: netip.AddrPortFrom(a, number), Local: e.NodeName != nil && *e.NodeName == node,
					Ready: ready, Serving: serving, Terminating: terminating,
				})
			}
		}
	}
	return out
}

// slicePort is the number that a Service's port has at the endpoints of a slice, or 0.
func slicePort(slice *discoveryv1.EndpointSlice, sp corev1.ServicePort) uint16 {
	want := sp.Protocol
	if want == "" {
		want = corev1.ProtocolTCP
	}
	for _, p := range slice.Ports {
		name, proto := "", corev1.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			proto = *p.Protocol
		}
		if name == sp.Name && proto == want && p.Port != nil {
			return uint16(*p.Port)
		}
	}
	return 0
}

// conditions reads an endpoint's state, unknown as the API says it is to be taken.
func conditions(e discoveryv1.Endpoint) (ready, serving, terminating bool) {
	ready = e.Conditions.Ready == nil || *e.Conditions.Ready
	serving = ready
	if e.Conditions.Serving != nil {
		serving = *e.Conditions.Serving
	}
	return ready, serving, e.Conditions.Terminating != nil && *e.Conditions.Terminating
}

// dnsService is what DNS has to know of a Service; nil if it has no name.
func dnsService(o observed) *dns.Service {
	s := o.service
	if s == nil {
		return nil
	}
	out := &dns.Service{Namespace: s.Namespace, Name: s.Name}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		out.ExternalName = s.Spec.ExternalName
		return out
	}
	out.ClusterIPs = clusterIPs(s)
	for _, p := range s.Spec.Ports {
		out.Ports = append(out.Ports, dns.Port{Name: p.Name, Protocol: protocolName(p.Protocol), Port: uint16(p.Port)})
	}
	if len(out.ClusterIPs) > 0 {
		return out
	}
	for _, slice := range o.slices {
		if slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		var ports []dns.Port
		for _, p := range slice.Ports {
			if p.Name != nil && *p.Name != "" && p.Port != nil {
				ports = append(ports, dns.Port{Name: *p.Name, Protocol: protocolName(protocolOf(p)), Port: uint16(*p.Port)})
			}
		}
		for _, e := range slice.Endpoints {
			if ready, _, _ := conditions(e); !ready && !s.Spec.PublishNotReadyAddresses {
				continue
			}
			hostname := ""
			if e.Hostname != nil {
				hostname = *e.Hostname
			}
			for _, a := range parseAddrs(e.Addresses) {
				out.Endpoints = append(out.Endpoints, dns.Endpoint{Addr: a, Hostname: hostname, Ports: ports})
			}
		}
	}
	return out
}

func protocolOf(p discoveryv1.EndpointPort) corev1.Protocol {
	if p.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *p.Protocol
}

func protocolName(p corev1.Protocol) string {
	if p == "" {
		return "TCP"
	}
	return string(p)
}

// portKey is a port of the node that somebody wants.
type portKey struct {
	addr     netip.Addr // the zero Addr: all
	port     uint16
	protocol string
}

func (k portKey) String() string {
	if k.addr.IsValid() {
		return fmt.Sprintf("%s/%s", netip.AddrPortFrom(k.addr, k.port), k.protocol)
	}
	return fmt.Sprintf("%d/%s", k.port, k.protocol)
}

// overlaps says whether two wishes cannot both be met.
func (k portKey) overlaps(o portKey) bool {
	return k.port == o.port && k.protocol == o.protocol && (!k.addr.IsValid() || !o.addr.IsValid() || k.addr == o.addr)
}

func keyOf(sp corev1.ServicePort, hostIPs map[string]netip.Addr) portKey {
	k := portKey{port: uint16(sp.Port), protocol: protocolName(sp.Protocol)}
	k.addr = hostIPs[fmt.Sprintf("%d/%s", k.port, k.protocol)]
	return k
}

// hostAddrs reads the annotation that confines published ports to single addresses.
func hostAddrs(s *corev1.Service) (map[string]netip.Addr, error) {
	text := s.Annotations[api.AnnotationHostIP]
	if text == "" {
		return nil, nil
	}
	var raw map[string]string
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", api.AnnotationHostIP, err)
	}
	out := map[string]netip.Addr{}
	for port, addr := range raw {
		if addr == "" {
			continue
		}
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return nil, fmt.Errorf("annotation %s: port %s: %q is no address", api.AnnotationHostIP, port, addr)
		}
		if !a.IsUnspecified() {
			out[port] = a.Unmap()
		}
	}
	return out, nil
}

// wish is one published port and who wants it.
type wish struct {
	portKey
	owner   string // "Service a/b" or "pod a/b"
	service string // the Service's key, "" for a pod
	rank    int64
	target  netip.AddrPort
}

// allotment says who may have which port of the node.
type allotment struct {
	ports  []localport.Port
	owners map[portKey]wish
	// refused are the reasons for those that may not, by Service and port.
	refused map[string]map[portKey]string
}

func (a *allotment) refuse(w wish, reason string) {
	if a.refused[w.service] == nil {
		a.refused[w.service] = map[portKey]string{}
	}
	a.refused[w.service][w.portKey] = reason
}

// allot gives each port to one: pods' host ports first (the scheduler has seen to it that they do not clash), then the oldest Service.
func allot(wishes []wish) allotment {
	a := allotment{owners: map[portKey]wish{}, refused: map[string]map[portKey]string{}}
	slices.SortFunc(wishes, func(x, y wish) int {
		return cmp.Or(boolOrder(x.service != "", y.service != ""), cmp.Compare(x.rank, y.rank), cmp.Compare(x.owner, y.owner), compareKeys(x.portKey, y.portKey))
	})
	taken := map[uint16][]wish{}
	for _, w := range wishes {
		at := slices.IndexFunc(taken[w.port], func(o wish) bool { return o.overlaps(w.portKey) })
		if at >= 0 {
			a.refuse(w, fmt.Sprintf("port %s is already published by %s", w.portKey, taken[w.port][at].owner))
			continue
		}
		taken[w.port] = append(taken[w.port], w)
		a.owners[w.portKey] = w
		a.ports = append(a.ports, localport.Port{Addr: w.addr, Port: w.port, Protocol: w.protocol, Target: w.target})
	}
	return a
}

// boolOrder puts false first.
func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func compareKeys(a, b portKey) int {
	return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.protocol, b.protocol), a.addr.Compare(b.addr))
}

// wishes are the ports of the node that a Service wants. A target is needed to serve what the kernel cannot translate: the Service's own address.
func wishes(s *corev1.Service) []wish {
	if !published(s) {
		return nil
	}
	ips := clusterIPs(s)
	if len(ips) == 0 {
		return nil
	}
	hostIPs, err := hostAddrs(s)
	if err != nil || restricted(s) != nil {
		return nil // the status says so
	}
	var out []wish
	for _, sp := range s.Spec.Ports {
		key := s.Namespace + "/" + s.Name
		out = append(out, wish{
			portKey: keyOf(sp, hostIPs), owner: "Service " + key, service: key, rank: s.CreationTimestamp.Unix(),
			target: netip.AddrPortFrom(ips[0], uint16(sp.Port)),
		})
	}
	return out
}

// podWishes are the host ports of this node's pods.
func podWishes(ports []podnet.PodPort) []wish {
	var out []wish
	for _, p := range ports {
		if len(p.IPs) == 0 {
			continue
		}
		addr := p.HostIP
		if addr.IsValid() && addr.IsUnspecified() {
			addr = netip.Addr{}
		}
		out = append(out, wish{
			portKey: portKey{addr: addr, port: p.HostPort.HostPort, protocol: p.Protocol}, owner: "pod " + p.Namespace + "/" + p.Name,
			target: netip.AddrPortFrom(p.IPs[0], p.ContainerPort),
		})
	}
	return out
}

// podServices are the pods' host ports as the proxy takes them: Services without an address of their own.
func podServices(ports []podnet.PodPort, held func(portKey) bool) map[string]*proxy.Service {
	out := map[string]*proxy.Service{}
	for i, w := range podWishes(ports) {
		p := ports[i]
		proto, err := proxy.ParseProtocol(p.Protocol)
		if err != nil || !held(w.portKey) {
			continue
		}
		port := proxy.Port{Protocol: proto, Port: p.HostPort.HostPort, Published: true}
		if w.addr.IsValid() {
			port.PublishedOn = []netip.Addr{w.addr}
		}
		for _, ip := range p.IPs {
			port.Endpoints = append(port.Endpoints, proxy.Endpoint{AddrPort: netip.AddrPortFrom(ip, p.ContainerPort), Local: true, Ready: true, Serving: true})
		}
		name := fmt.Sprintf("host port %s of pod %s/%s", w.portKey, p.Namespace, p.Name)
		out[name] = &proxy.Service{Name: name, Rank: -1, Ports: []proxy.Port{port}}
	}
	return out
}

// nodeAddrs are the addresses at which the nodes answer published ports.
func nodeAddrs(nodes []*corev1.Node, own []netip.Addr) []string {
	seen := map[string]bool{}
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
				seen[a.Address] = true
			}
		}
	}
	if len(seen) == 0 {
		for _, a := range own {
			seen[a.String()] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), compareAddrs)
}

// compareAddrs puts IPv4 first, and addresses in the order of their numbers.
func compareAddrs(a, b string) int {
	x, _ := netip.ParseAddr(a)
	y, _ := netip.ParseAddr(b)
	return cmp.Or(x.Compare(y), strings.Compare(a, b))
}
