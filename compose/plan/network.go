package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/model"
)

// nameServices makes one headless Service for every host name of the selected services: it resolves to all their containers, ready or not, as
// in Compose, whatever ports they listen on.
func (b *builder) nameServices(names []string) {
	for _, name := range slices.Sorted(maps.Keys(b.names)) {
		who := b.names[name]
		if !slices.ContainsFunc(who, func(s string) bool { return slices.Contains(names, s) }) {
			continue
		}
		svc := &corev1.Service{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			ObjectMeta: b.meta(name, who[0]),
			Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, PublishNotReadyAddresses: true},
		}
		if len(who) == 1 {
			svc.Spec.Selector = selector(b.project.Name, who[0])
		} else {
			svc.Spec.Selector = map[string]string{api.LabelProject: b.project.Name, nameLabel(name): "true"}
		}
		stamp(svc)
		b.out.objects = append(b.out.objects, svc)
	}
}

// publish makes the Service that answers at the published ports on the node's addresses.
func (b *builder) publish(s *model.Service) {
	if len(s.Ports) == 0 || s.NetworkMode == "host" {
		return
	}
	svc := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: b.meta(PublishedName(s.Name), s.Name),
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Selector: selector(b.project.Name, s.Name),
			AllocateLoadBalancerNodePorts: new(false)},
	}
	have, _ := b.state.find("Service", svc.Name).(*corev1.Service)
	hostIP := map[string]string{}
	for _, p := range s.Ports {
		proto := corev1.Protocol(strings.ToUpper(p.Protocol))
		port, ok := b.choosePort(s, p, proto, have, svc)
		if !ok {
			continue
		}
		key := fmt.Sprintf("%d/%s", port, proto)
		if ip := p.HostIP; ip != "" && ip != "0.0.0.0" && ip != "::" {
			hostIP[key] = ip
		}
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: fmt.Sprintf("%s-%d", strings.ToLower(p.Protocol), port), Protocol: proto,
			Port: port, TargetPort: intstr.FromInt32(int32(p.Target))})
	}
	if len(hostIP) > 0 {
		data, _ := json.Marshal(hostIP)
		svc.Annotations = map[string]string{api.AnnotationHostIP: string(data)}
	}
	stamp(svc)
	b.out.published = append(b.out.published, svc)
}

// choosePort settles which port of the node a published port gets: the one named, else the one it has had, else a free one. A service keeps
// the ports it already holds, so only new ones can be taken by somebody else.
func (b *builder) choosePort(s *model.Service, p model.Port, proto corev1.Protocol, have, want *corev1.Service) (int32, bool) {
	first, last, err := PortRange(p.Published)
	if err != nil {
		b.problem("service %q: %v", s.Name, err)
		return 0, false
	}
	used := func(port int32) bool {
		return slices.ContainsFunc(want.Spec.Ports, func(o corev1.ServicePort) bool { return o.Port == port && o.Protocol == proto })
	}
	if have != nil {
		for _, o := range have.Spec.Ports {
			fits := o.Port >= first && o.Port <= last || first == 0
			if fits && o.Protocol == proto && o.TargetPort.IntVal == int32(p.Target) && !used(o.Port) {
				return o.Port, true
			}
		}
	}
	if first == 0 {
		for len(b.free) > 0 {
			port := b.free[0]
			b.free = b.free[1:]
			if b.takenBy(port, proto, p.HostIP) == "" {
				return port, true
			}
		}
		b.problem("service %q: no free port is left for %d/%s", s.Name, p.Target, p.Protocol)
		return 0, false
	}
	by := ""
	for port := first; port <= last; port++ {
		if used(port) {
			if first == last {
				b.warn("service %q: port %d/%s is published more than once; only its first host address counts", s.Name, port, p.Protocol)
				return 0, false
			}
			continue
		}
		if by = b.takenBy(port, proto, p.HostIP); by == "" {
			return port, true
		}
	}
	host := p.HostIP
	if host == "" {
		host = "0.0.0.0"
	}
	b.problem("service %q: Bind for %s:%s failed: port is already allocated by %s; publish another port, or end what holds this one", s.Name, host, p.Published, by)
	return 0, false
}

// PortRange reads a published port: "8000", "9300-9305", or "" for any, which is 0.
func PortRange(published string) (first, last int32, err error) {
	low, high, ranged := strings.Cut(published, "-")
	if low == "" {
		return 0, 0, nil
	}
	if !ranged {
		high = low
	}
	a, err1 := strconv.ParseUint(low, 10, 16)
	z, err2 := strconv.ParseUint(high, 10, 16)
	if err1 != nil || err2 != nil || z < a {
		return 0, 0, fmt.Errorf("%q is no port or range of ports", published)
	}
	return int32(a), int32(z), nil
}

func (b *builder) takenBy(port int32, proto corev1.Protocol, hostIP string) string {
	anyIP := func(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
	for _, t := range b.state.Taken {
		if t.Port == port && t.Protocol == proto && (anyIP(t.HostIP) || anyIP(hostIP) || t.HostIP == hostIP) {
			return t.By
		}
	}
	return ""
}

// dns makes single labels resolve in the project's namespace first, and adds what the service asks for.
func dns(s *model.Service) *corev1.PodDNSConfig {
	out := &corev1.PodDNSConfig{Nameservers: s.DNS, Searches: s.DNSSearch}
	ndots := corev1.PodDNSConfigOption{Name: "ndots", Value: new("1")}
	for _, o := range s.DNSOptions {
		name, value, found := strings.Cut(o, ":")
		option := corev1.PodDNSConfigOption{Name: name}
		if found {
			option.Value = &value
		}
		if name == "ndots" {
			ndots = option
			continue
		}
		out.Options = append(out.Options, option)
	}
	out.Options = append(out.Options, ndots)
	return out
}

// hostAliases are the extra lines of /etc/hosts, one address each.
func (b *builder) hostAliases(s *model.Service) []corev1.HostAlias {
	var out []corev1.HostAlias
	for _, h := range s.ExtraHosts {
		if h.IP == "host-gateway" {
			b.warn("extra_hosts: host-gateway is not supported and is ignored (%s)", s.Name)
			continue
		}
		ip := strings.Trim(h.IP, "[]")
		if i := slices.IndexFunc(out, func(a corev1.HostAlias) bool { return a.IP == ip }); i >= 0 {
			out[i].Hostnames = append(out[i].Hostnames, h.Name)
			continue
		}
		out = append(out, corev1.HostAlias{IP: ip, Hostnames: []string{h.Name}})
	}
	return out
}
