package endpointslice

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	utilnet "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/kube"
)

// maxEndpoints is how many endpoints one slice holds, as upstream.
const maxEndpoints = 100

// managedBy marks the slices that this controller owns.
const managedBy = "endpointslice-controller.k8s.io"

// Plan is what the slices of one Service need.
type Plan struct {
	loop.Changes[*discoveryv1.EndpointSlice]
}

// String lists the plan's actions.
func (p Plan) String() string {
	var out []string
	for _, s := range p.Create {
		out = append(out, fmt.Sprintf("create %d endpoints", len(s.Endpoints)))
	}
	for _, s := range p.Update {
		out = append(out, fmt.Sprintf("update %s to %d endpoints", s.Name, len(s.Endpoints)))
	}
	for _, s := range p.Delete {
		out = append(out, "delete "+s.Name)
	}
	return strings.Join(out, "; ")
}

// Decide compares a Service's slices with the pods of its namespace. zones gives a node's zone.
func Decide(svc *corev1.Service, pods []*corev1.Pod, existing []*discoveryv1.EndpointSlice, zones map[string]string) Plan {
	var plan Plan
	families := svc.Spec.IPFamilies
	if len(families) == 0 {
		families = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	left := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range existing {
		left[s.Name] = s
	}
	for _, family := range families {
		groups := group(svc, pods, family, zones)
		for _, key := range slices.Sorted(maps.Keys(groups)) {
			plan.fit(svc, groups[key], existing, left)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		plan.Delete = append(plan.Delete, left[name])
	}
	return plan
}

// portGroup are the endpoints that offer the same ports: a named target port may differ from pod to pod.
type portGroup struct {
	family    corev1.IPFamily
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

func group(svc *corev1.Service, pods []*corev1.Pod, family corev1.IPFamily, zones map[string]string) map[string]*portGroup {
	out := map[string]*portGroup{}
	selector := labels.Set(svc.Spec.Selector).AsSelectorPreValidated()
	for _, pod := range pods {
		ip := podIP(pod, family)
		if ip == "" || kube.PodFinished(pod) || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		ports := portsOf(svc, pod)
		key := string(family) + portKey(ports)
		if out[key] == nil {
			out[key] = &portGroup{family: family, ports: ports}
		}
		out[key].endpoints = append(out[key].endpoints, endpoint(svc, pod, ip, zones))
	}
	if len(out) == 0 {
		// One empty slice says that the Service was looked at and has nothing.
		out[string(family)] = &portGroup{family: family}
	}
	return out
}

func podIP(pod *corev1.Pod, family corev1.IPFamily) string {
	for _, ip := range pod.Status.PodIPs {
		if utilnet.IsIPv6String(ip.IP) == (family == corev1.IPv6Protocol) {
			return ip.IP
		}
	}
	return ""
}

func portsOf(svc *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	var out []discoveryv1.EndpointPort
	for _, p := range svc.Spec.Ports {
		number, ok := kube.TargetPort(p, pod)
		if !ok {
			continue
		}
		out = append(out, discoveryv1.EndpointPort{Name: ptr.To(p.Name), Port: ptr.To(number), Protocol: ptr.To(p.Protocol), AppProtocol: p.AppProtocol})
	}
	return out
}

func portKey(ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "/%s:%d:%s:%s", ptr.Deref(p.Name, ""), ptr.Deref(p.Port, 0), ptr.Deref(p.Protocol, ""), ptr.Deref(p.AppProtocol, ""))
	}
	return b.String()
}

func endpoint(svc *corev1.Service, pod *corev1.Pod, ip string, zones map[string]string) discoveryv1.Endpoint {
	serving := kube.PodReady(pod)
	terminating := pod.DeletionTimestamp != nil
	e := discoveryv1.Endpoint{
		Addresses: []string{ip},
		Conditions: discoveryv1.EndpointConditions{
			Ready:       ptr.To(svc.Spec.PublishNotReadyAddresses || serving && !terminating),
			Serving:     ptr.To(serving),
			Terminating: ptr.To(terminating),
		},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		e.NodeName = ptr.To(pod.Spec.NodeName)
		if zone := zones[pod.Spec.NodeName]; zone != "" {
			e.Zone = ptr.To(zone)
		}
	}
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == svc.Name {
		e.Hostname = ptr.To(pod.Spec.Hostname)
	}
	return e
}

// fit places a group's endpoints: those that are in a slice stay there, others go where there is room, new slices take the rest.
// Slices that are used are taken out of left.
func (p *Plan) fit(svc *corev1.Service, g *portGroup, existing []*discoveryv1.EndpointSlice, left map[string]*discoveryv1.EndpointSlice) {
	wanted := map[string]discoveryv1.Endpoint{}
	for _, e := range g.endpoints {
		wanted[endpointKey(e)] = e
	}
	var filled []*discoveryv1.EndpointSlice
	for _, s := range existing {
		if left[s.Name] == nil || s.AddressType != discoveryv1.AddressType(g.family) || portKey(s.Ports) != portKey(g.ports) {
			continue
		}
		changed := s.DeepCopy()
		changed.Labels = sliceLabels(svc, s.Labels)
		changed.Endpoints = nil
		for _, e := range s.Endpoints {
			if next, ok := wanted[endpointKey(e)]; ok {
				changed.Endpoints = append(changed.Endpoints, next)
				delete(wanted, endpointKey(e))
			}
		}
		delete(left, s.Name)
		filled = append(filled, changed)
	}
	rest := make([]discoveryv1.Endpoint, 0, len(wanted))
	for _, e := range wanted {
		rest = append(rest, e)
	}
	slices.SortFunc(rest, func(a, b discoveryv1.Endpoint) int { return cmp.Compare(endpointKey(a), endpointKey(b)) })
	for _, s := range filled {
		take := min(maxEndpoints-len(s.Endpoints), len(rest))
		s.Endpoints = append(s.Endpoints, rest[:take]...)
		rest = rest[take:]
	}
	for len(rest) > 0 || len(filled) == 0 {
		take := min(maxEndpoints, len(rest))
		s := newSlice(svc, g)
		s.Endpoints = append([]discoveryv1.Endpoint{}, rest[:take]...)
		rest = rest[take:]
		filled = append(filled, s)
	}
	p.settle(filled, existing, left)
}

// settle sorts filled slices into those to create, update, leave and delete.
func (p *Plan) settle(filled, existing []*discoveryv1.EndpointSlice, left map[string]*discoveryv1.EndpointSlice) {
	byName := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range existing {
		byName[s.Name] = s
	}
	used := 0
	for _, s := range filled {
		used += len(s.Endpoints)
	}
	kept := 0
	for _, s := range filled {
		before := byName[s.Name]
		switch {
		case before == nil:
			p.Create = append(p.Create, s)
		case len(s.Endpoints) == 0 && (used > 0 || kept > 0):
			left[s.Name] = before
			continue
		case !equality.Semantic.DeepEqual(before, s):
			p.Update = append(p.Update, s)
		}
		kept++
	}
}

func endpointKey(e discoveryv1.Endpoint) string {
	if e.TargetRef == nil {
		return strings.Join(e.Addresses, ",")
	}
	return string(e.TargetRef.UID) + "/" + e.Addresses[0]
}

func newSlice(svc *corev1.Service, g *portGroup) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    svc.Name + "-",
			Namespace:       svc.Namespace,
			Labels:          sliceLabels(svc, nil),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: discoveryv1.AddressType(g.family),
		Ports:       g.ports,
	}
}

// sliceLabels are the Service's own labels and those that clients find slices by.
func sliceLabels(svc *corev1.Service, before map[string]string) map[string]string {
	out := maps.Clone(svc.Labels)
	if out == nil {
		out = map[string]string{}
	}
	delete(out, corev1.IsHeadlessService)
	out[discoveryv1.LabelServiceName] = svc.Name
	out[discoveryv1.LabelManagedBy] = managedBy
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		out[corev1.IsHeadlessService] = ""
	}
	if before != nil && maps.Equal(before, out) {
		return before
	}
	return out
}
