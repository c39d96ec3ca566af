package agent

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/internal/testkit"
	"github.com/cuppa-project/cuppa/network/podnet"
	"github.com/cuppa-project/cuppa/network/proxy"
)

func show(t *testing.T, v any) string {
	t.Helper()
	out, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// describe prints what the proxy is told, a line for each port and endpoint.
func describe(s *proxy.Service) string {
	if s == nil {
		return "nothing\n"
	}
	out := fmt.Sprintf("%s at %v, external %v, affinity %s, local inside %v outside %v\n", s.Name, s.ClusterIPs, s.ExternalIPs, s.Affinity, s.InternalLocal, s.ExternalLocal)
	for _, p := range s.Ports {
		out += fmt.Sprintf("  %d/%s node port %d published %v on %v\n", p.Port, p.Protocol, p.NodePort, p.Published, p.PublishedOn)
		for _, e := range p.Endpoints {
			out += fmt.Sprintf("    %s local %v ready %v serving %v terminating %v\n", e.AddrPort, e.Local, e.Ready, e.Serving, e.Terminating)
		}
	}
	return out
}

func endpointIn(node string, ready, serving, terminating *bool, addrs ...string) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: addrs, Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving, Terminating: terminating}}
	if node != "" {
		e.NodeName = &node
	}
	return e
}

// TestTranslations prints what Services with their slices become for the proxy and for DNS.
func TestTranslations(t *testing.T) {
	yes, no := new(true), new(false)
	mixed := slice("s")
	mixed.Endpoints = []discoveryv1.Endpoint{
		endpointIn("n1", nil, nil, nil, "10.42.0.2"),
		endpointIn("n2", yes, yes, no, "10.42.1.2"),
		endpointIn("n1", no, yes, yes, "10.42.0.3"),
		endpointIn("", no, no, no, "10.42.0.4"),
	}
	mixed.Endpoints[0].Hostname = new("s-0")
	six := slice("s", "fd00:42::2")
	six.Name, six.AddressType = "s-y", discoveryv1.AddressTypeIPv6
	tests := []struct {
		name   string
		svc    *corev1.Service
		slices []*discoveryv1.EndpointSlice
	}{
		{"gone", nil, nil},
		{"all kinds of endpoints", service("s", "10.43.0.5", nil), []*discoveryv1.EndpointSlice{mixed}},
		{"headless", service("s", corev1.ClusterIPNone, nil), []*discoveryv1.EndpointSlice{mixed}},
		{"headless, not ready too", service("s", corev1.ClusterIPNone, func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }), []*discoveryv1.EndpointSlice{mixed}},
		{"dual stack", service("s", "10.43.0.5", func(s *corev1.Service) { s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, "fd00:43::5") }), []*discoveryv1.EndpointSlice{slice("s", "10.42.0.2"), six}},
		{"external name", service("s", "", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "db.example.com"
		}), nil},
		{"policies and affinity", service("s", "10.43.0.5", func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeNodePort
			s.Spec.Ports[0].NodePort = 30080
			s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(60))}}
			s.Spec.ExternalIPs = []string{"203.0.113.9"}
		}), nil},
		{"published", service("s", "10.43.0.5", loadBalancer), nil},
		{"published on localhost", service("s", "10.43.0.5", func(s *corev1.Service) {
			loadBalancer(s)
			s.Annotations = map[string]string{api.AnnotationHostIP: `{"8000/TCP":"127.0.0.1"}`}
		}), nil},
		{"another implementation's", service("s", "10.43.0.5", func(s *corev1.Service) { loadBalancer(s); s.Spec.LoadBalancerClass = new("example.com/x") }), nil},
		{"another proxy's", service("s", "10.43.0.5", func(s *corev1.Service) { s.Labels = map[string]string{serviceProxyName: "x"} }), nil},
		{"port of another name", service("s", "10.43.0.5", func(s *corev1.Service) { s.Spec.Ports[0].Name = "other" }), []*discoveryv1.EndpointSlice{mixed}},
	}
	var out strings.Builder
	for _, tt := range tests {
		o := observed{service: tt.svc, slices: tt.slices}
		fmt.Fprintf(&out, "== %s\nproxy:\n%sdns:\n%s", tt.name, describe(proxyService(o, "n1", func(portKey) bool { return true })), show(t, dnsService(o)))
	}
	testkit.Golden(t, "translations.golden", out.String())
}

func TestAllot(t *testing.T) {
	young := func(s *corev1.Service) {
		loadBalancer(s)
		s.CreationTimestamp = metav1.NewTime(time.Unix(200, 0))
	}
	on := func(addr string) func(*corev1.Service) {
		return func(s *corev1.Service) {
			loadBalancer(s)
			s.Annotations = map[string]string{api.AnnotationHostIP: `{"8000/TCP":"` + addr + `"}`}
		}
	}
	pod := podnet.PodPort{
		HostPort: podnet.HostPort{HostPort: 8000, ContainerPort: 80, Protocol: "TCP"}, Namespace: "proj", Name: "pod", IPs: []netip.Addr{netip.MustParseAddr("10.42.0.2")},
	}
	tests := []struct {
		name     string
		services []*corev1.Service
		pods     []podnet.PodPort
		want     string
	}{
		{"one", []*corev1.Service{service("a", "10.43.0.1", loadBalancer)}, nil, "8000/TCP: Service proj/a -> 10.43.0.1:8000"},
		{"the older wins", []*corev1.Service{service("a", "10.43.0.1", young), service("b", "10.43.0.2", loadBalancer)}, nil,
			"8000/TCP: Service proj/b -> 10.43.0.2:8000\nproj/a: port 8000/TCP is already published by Service proj/b"},
		{"two addresses", []*corev1.Service{service("a", "10.43.0.1", on("127.0.0.1")), service("b", "10.43.0.2", on("192.0.2.7"))}, nil,
			"127.0.0.1:8000/TCP: Service proj/a -> 10.43.0.1:8000\n192.0.2.7:8000/TCP: Service proj/b -> 10.43.0.2:8000"},
		{"one address and all", []*corev1.Service{service("a", "10.43.0.1", on("127.0.0.1")), service("b", "10.43.0.2", loadBalancer)}, nil,
			"127.0.0.1:8000/TCP: Service proj/a -> 10.43.0.1:8000\nproj/b: port 8000/TCP is already published by Service proj/a"},
		{"a pod's host port", []*corev1.Service{service("a", "10.43.0.1", loadBalancer)}, []podnet.PodPort{pod},
			"8000/TCP: pod proj/pod -> 10.42.0.2:80\nproj/a: port 8000/TCP is already published by pod proj/pod"},
		{"bad annotation", []*corev1.Service{service("a", "10.43.0.1", on("nonsense"))}, nil, ""},
		{"source ranges", []*corev1.Service{service("a", "10.43.0.1", func(s *corev1.Service) {
			loadBalancer(s)
			s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/24"}
		})}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := podWishes(tt.pods)
			for _, s := range tt.services {
				all = append(all, wishes(s)...)
			}
			a := allot(all)
			var lines []string
			for _, key := range slices.SortedFunc(maps.Keys(a.owners), compareKeys) {
				lines = append(lines, fmt.Sprintf("%s: %s -> %s", key, a.owners[key].owner, a.owners[key].target))
			}
			for _, name := range slices.Sorted(maps.Keys(a.refused)) {
				lines = append(lines, name+": "+refusals(a.refused[name]))
			}
			if diff := cmp.Diff(tt.want, strings.Join(lines, "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanStatus(t *testing.T) {
	two := func(s *corev1.Service) {
		loadBalancer(s)
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "more", Port: 9000, Protocol: corev1.ProtocolTCP})
	}
	clash := func(ports ...uint16) map[portKey]string {
		out := map[portKey]string{}
		for _, p := range ports {
			key := portKey{port: p, protocol: "TCP"}
			out[key] = fmt.Sprintf("port %s is in use by process 7 (nginx)", key)
		}
		return out
	}
	annotated := func(text string) func(*corev1.Service) {
		return func(s *corev1.Service) { two(s); s.Annotations = map[string]string{api.AnnotationHostIP: text} }
	}
	tests := []struct {
		name    string
		svc     *corev1.Service
		refused map[portKey]string
	}{
		{"all ports", service("s", "10.43.0.5", two), nil},
		{"one port taken", service("s", "10.43.0.5", two), clash(9000)},
		{"all ports taken", service("s", "10.43.0.5", two), clash(8000, 9000)},
		{"one address", service("s", "10.43.0.5", annotated(`{"8000/TCP":"127.0.0.1","9000/TCP":"127.0.0.1"}`)), nil},
		{"bad annotation", service("s", "10.43.0.5", annotated(`{"8000/TCP":"nonsense"}`)), nil},
		{"source ranges", service("s", "10.43.0.5", func(s *corev1.Service) { two(s); s.Spec.LoadBalancerSourceRanges = []string{"192.0.2.0/24"} }), nil},
		{"no longer published", service("s", "10.43.0.5", func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}}
			s.Status.Conditions = []metav1.Condition{{Type: api.ConditionPublished}, {Type: "example.com/Other"}}
		}), nil},
	}
	var out strings.Builder
	for _, tt := range tests {
		w := wanted{addrs: []string{"192.0.2.7", "fd00::7"}, refused: tt.refused}
		status := planStatus(tt.svc, w)
		fmt.Fprintf(&out, "== %s\n%s", tt.name, show(t, status))
		tt.svc.Status = status
		if diff := cmp.Diff(status, planStatus(tt.svc, w)); diff != "" {
			t.Errorf("%s: not settled after one write:\n%s", tt.name, diff)
		}
	}
	testkit.Golden(t, "status.golden", out.String())
}

func TestConditionKeepsItsTimeWhileItStands(t *testing.T) {
	s := service("s", "10.43.0.5", loadBalancer)
	begin := time.Unix(100, 0)
	s.Status = planStatus(s, wanted{addrs: []string{"192.0.2.7"}})
	stamp(s.Status.Conditions, begin)
	key := portKey{port: 8000, protocol: "TCP"}
	for _, step := range []struct {
		refused map[portKey]string
		want    time.Time
	}{
		{nil, begin},
		{map[portKey]string{key: "taken by x"}, time.Unix(200, 0)},
		{map[portKey]string{key: "taken by y"}, time.Unix(200, 0)},
	} {
		s.Status = planStatus(s, wanted{addrs: []string{"192.0.2.7"}, refused: step.refused})
		stamp(s.Status.Conditions, time.Unix(200, 0))
		got := meta.FindStatusCondition(s.Status.Conditions, api.ConditionPublished).LastTransitionTime.Time
		if !got.Equal(step.want) {
			t.Errorf("refused %v: time %s, want %s", step.refused, got, step.want)
		}
	}
}
