package endpointslicemirroring

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
	utilnet "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/controller/loop"
)

// maxEndpoints is how many addresses of a subset are mirrored, as upstream.
const maxEndpoints = 1000

// managedBy marks the slices that this controller owns.
const managedBy = "endpointslicemirroring-controller.k8s.io"

// annotationLeader is on Endpoints that are the lock of an election of old, and no service's addresses.
const annotationLeader = "control-plane.alpha.kubernetes.io/leader"

// labelMaker is on Endpoints that another controller made from pods: there are slices for those already.
const labelMaker = "endpoints.kubernetes.io/managed-by"

// Plan is what the slices of one Endpoints object need.
type Plan struct {
	loop.Changes[*discoveryv1.EndpointSlice]
	Left int // addresses beyond maxEndpoints, which are in no slice
}

// String lists the plan's actions.
func (p Plan) String() string {
	var out []string
	for _, s := range p.Create {
		out = append(out, fmt.Sprintf("create %s with %d endpoints", s.AddressType, len(s.Endpoints)))
	}
	for _, s := range p.Update {
		out = append(out, fmt.Sprintf("update %s to %d endpoints", s.Name, len(s.Endpoints)))
	}
	for _, s := range p.Delete {
		out = append(out, "delete "+s.Name)
	}
	if p.Left > 0 {
		out = append(out, fmt.Sprintf("leave out %d addresses", p.Left))
	}
	return strings.Join(out, "; ")
}

// mirrored says whether an Endpoints object (nil: none) is to have slices made of it: a user wrote it, for a Service (nil: none) that
// selects no pods, and does not ask for it to be left alone.
func mirrored(e *corev1.Endpoints, svc *corev1.Service) bool {
	if e == nil || svc == nil || e.DeletionTimestamp != nil || len(svc.Spec.Selector) > 0 || e.Labels[discoveryv1.LabelSkipMirror] == "true" {
		return false
	}
	_, made := e.Labels[labelMaker]
	_, lock := e.Annotations[annotationLeader]
	return !made && !lock
}

// Decide compares the slices made of an Endpoints object with what it says. There is one for each set of ports and each family of addresses.
func Decide(e *corev1.Endpoints, svc *corev1.Service, existing []*discoveryv1.EndpointSlice) Plan {
	var plan Plan
	left := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range existing {
		left[s.Name] = s
	}
	if mirrored(e, svc) {
		wanted := mirror{}
		for _, subset := range e.Subsets {
			plan.Left += wanted.add(e, subset)
		}
		for _, key := range slices.Sorted(maps.Keys(wanted)) {
			plan.settle(wanted[key], existing, left)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		plan.Delete = append(plan.Delete, left[name])
	}
	return plan
}

// mirror are the slices that an Endpoints object asks for, by their ports and families.
type mirror map[string]*discoveryv1.EndpointSlice

// add puts a subset's addresses into their slices, those that are ready first, and says how many found no room.
func (m mirror) add(e *corev1.Endpoints, subset corev1.EndpointSubset) (left int) {
	ready, unready := len(subset.Addresses), len(subset.NotReadyAddresses)
	for i, a := range slices.Concat(subset.Addresses, subset.NotReadyAddresses) {
		if i == maxEndpoints {
			return ready + unready - maxEndpoints
		}
		s := m.slice(e, familyOf(a.IP), subset.Ports)
		s.Endpoints = append(s.Endpoints, endpoint(a, i < ready))
	}
	return 0
}

func (m mirror) slice(e *corev1.Endpoints, family discoveryv1.AddressType, ports []corev1.EndpointPort) *discoveryv1.EndpointSlice {
	key := string(family)
	for _, p := range ports {
		key += fmt.Sprintf(" %s:%d/%s:%s", p.Name, p.Port, p.Protocol, ptr.Deref(p.AppProtocol, ""))
	}
	if m[key] == nil {
		m[key] = newSlice(e, family, ports)
	}
	return m[key]
}

func newSlice(e *corev1.Endpoints, family discoveryv1.AddressType, ports []corev1.EndpointPort) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    e.Name + "-",
			Namespace:       e.Namespace,
			Labels:          map[string]string{},
			Annotations:     map[string]string{},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
		},
		AddressType: family,
	}
	maps.Copy(s.Labels, e.Labels)
	s.Labels[discoveryv1.LabelServiceName], s.Labels[discoveryv1.LabelManagedBy] = e.Name, managedBy
	maps.Copy(s.Annotations, e.Annotations)
	delete(s.Annotations, corev1.EndpointsLastChangeTriggerTime)
	delete(s.Annotations, corev1.LastAppliedConfigAnnotation)
	for _, p := range ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: ptr.To(p.Name), Port: ptr.To(p.Port), Protocol: ptr.To(p.Protocol), AppProtocol: p.AppProtocol})
	}
	return s
}

func familyOf(ip string) discoveryv1.AddressType {
	if utilnet.IsIPv6String(ip) {
		return discoveryv1.AddressTypeIPv6
	}
	return discoveryv1.AddressTypeIPv4
}

func endpoint(a corev1.EndpointAddress, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(ready)}, TargetRef: a.TargetRef, NodeName: a.NodeName}
	if a.Hostname != "" {
		e.Hostname = ptr.To(a.Hostname)
	}
	return e
}

// settle writes what a slice is to be into one that is there for the same ports and family, and else makes it. One that is used is taken out of left.
func (p *Plan) settle(wanted *discoveryv1.EndpointSlice, existing []*discoveryv1.EndpointSlice, left map[string]*discoveryv1.EndpointSlice) {
	slices.SortStableFunc(wanted.Endpoints, func(a, b discoveryv1.Endpoint) int { return cmp.Compare(a.Addresses[0], b.Addresses[0]) })
	for _, s := range existing {
		if left[s.Name] == nil || s.AddressType != wanted.AddressType || !equality.Semantic.DeepEqual(s.Ports, wanted.Ports) {
			continue
		}
		delete(left, s.Name)
		next := s.DeepCopy()
		next.Labels, next.Annotations, next.OwnerReferences, next.Endpoints = wanted.Labels, wanted.Annotations, wanted.OwnerReferences, wanted.Endpoints
		if !equality.Semantic.DeepEqual(s, next) {
			p.Update = append(p.Update, next)
		}
		return
	}
	p.Create = append(p.Create, wanted)
}
