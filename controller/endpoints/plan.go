package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/utils/net"

	"github.com/cuppa-project/cuppa/kube"
)

// maxAddresses is how many addresses one object holds, as upstream; what is left out is only in the EndpointSlices.
const maxAddresses = 1000

// overCapacity is the value of corev1.EndpointsOverCapacity on an object from which addresses were left out.
const overCapacity = "truncated"

// LabelManagedBy and managedBy mark objects made here, so that nobody takes them for a user's.
const (
	LabelManagedBy = "endpoints.kubernetes.io/managed-by"
	managedBy      = "endpoint-controller"
)

// Action is what is to be done with the Endpoints object of one Service.
type Action string

// The actions.
const (
	Nothing Action = ""
	Create  Action = "create"
	Update  Action = "update"
	Delete  Action = "delete"
)

// Plan is one action, with the object to be written.
type Plan struct {
	Action    Action
	Endpoints *corev1.Endpoints
}

// String names the action and how many addresses come of it.
func (p Plan) String() string {
	if p.Action == Nothing {
		return "nothing"
	}
	ready, unready := 0, 0
	for _, s := range p.Endpoints.Subsets {
		ready, unready = ready+len(s.Addresses), unready+len(s.NotReadyAddresses)
	}
	return fmt.Sprintf("%s: %d ready, %d not, in %d subsets", p.Action, ready, unready, len(p.Endpoints.Subsets))
}

// Decide compares a Service's Endpoints object (nil: none) with the pods that its selector matches. Without the Service (nil), the object goes,
// whoever made it. A Service without a selector keeps the object it has.
func Decide(svc *corev1.Service, pods []*corev1.Pod, existing *corev1.Endpoints) Plan {
	switch {
	case svc == nil && existing == nil:
		return Plan{}
	case svc == nil:
		return Plan{Delete, existing}
	case len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName:
		return Plan{}
	}
	next, action := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}}, Create
	if existing != nil {
		next, action = existing.DeepCopy(), Update
	}
	next.Labels = wantedLabels(svc)
	subsets, left := subsetsOf(svc, pods)
	next.Subsets = subsets
	if left > 0 {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, corev1.EndpointsOverCapacity, overCapacity)
	} else {
		delete(next.Annotations, corev1.EndpointsOverCapacity)
	}
	if existing != nil && equality.Semantic.DeepEqual(existing, next) {
		return Plan{}
	}
	return Plan{action, next}
}

func wantedLabels(svc *corev1.Service) map[string]string {
	out := maps.Clone(svc.Labels)
	if out == nil {
		out = map[string]string{}
	}
	delete(out, corev1.IsHeadlessService)
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		out[corev1.IsHeadlessService] = ""
	}
	out[LabelManagedBy] = managedBy
	return out
}

// subsetsOf puts pods that offer the same ports into one subset, and says how many addresses found no room.
func subsetsOf(svc *corev1.Service, pods []*corev1.Pod) (out []corev1.EndpointSubset, left int) {
	type subset struct {
		ports          []corev1.EndpointPort
		ready, unready []corev1.EndpointAddress
	}
	byPorts := map[string]*subset{}
	for _, pod := range pods {
		ip := address(svc, pod)
		if ip == "" || kube.PodFinished(pod) || pod.DeletionTimestamp != nil && !svc.Spec.PublishNotReadyAddresses {
			continue
		}
		ports := portsOf(svc, pod)
		if len(ports) == 0 && len(svc.Spec.Ports) > 0 {
			continue
		}
		key := fmt.Sprint(ports)
		s := byPorts[key]
		if s == nil {
			s = &subset{ports: ports}
			byPorts[key] = s
		}
		if svc.Spec.PublishNotReadyAddresses || kube.PodReady(pod) {
			s.ready = append(s.ready, endpoint(svc, pod, ip))
		} else {
			s.unready = append(s.unready, endpoint(svc, pod, ip))
		}
	}
	room := maxAddresses
	keys := slices.Sorted(maps.Keys(byPorts))
	for _, key := range keys { // those that serve come first, if there is not room for all
		byPorts[key].ready, room, left = cut(byPorts[key].ready, room, left)
	}
	for _, key := range keys {
		s := byPorts[key]
		s.unready, room, left = cut(s.unready, room, left)
		if len(s.ready)+len(s.unready) > 0 {
			out = append(out, corev1.EndpointSubset{Addresses: s.ready, NotReadyAddresses: s.unready, Ports: s.ports})
		}
	}
	return out, left
}

// cut sorts addresses and keeps as many as there is room for.
func cut(all []corev1.EndpointAddress, room, left int) ([]corev1.EndpointAddress, int, int) {
	slices.SortFunc(all, func(a, b corev1.EndpointAddress) int {
		return cmp.Or(strings.Compare(a.IP, b.IP), strings.Compare(string(a.TargetRef.UID), string(b.TargetRef.UID)))
	})
	n := min(len(all), room)
	return all[:n:n], room - n, left + len(all) - n
}

// address is the pod's, of the Service's first family: the object knows of no other.
func address(svc *corev1.Service, pod *corev1.Pod) string {
	wantV6 := len(svc.Spec.IPFamilies) > 0 && svc.Spec.IPFamilies[0] == corev1.IPv6Protocol
	for _, ip := range pod.Status.PodIPs {
		if utilnet.IsIPv6String(ip.IP) == wantV6 {
			return ip.IP
		}
	}
	return ""
}

func portsOf(svc *corev1.Service, pod *corev1.Pod) []corev1.EndpointPort {
	var out []corev1.EndpointPort
	for _, p := range svc.Spec.Ports {
		if number, ok := kube.TargetPort(p, pod); ok {
			out = append(out, corev1.EndpointPort{Name: p.Name, Port: number, Protocol: p.Protocol, AppProtocol: p.AppProtocol})
		}
	}
	return out
}

func endpoint(svc *corev1.Service, pod *corev1.Pod, ip string) corev1.EndpointAddress {
	e := corev1.EndpointAddress{IP: ip, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}}
	if pod.Spec.NodeName != "" {
		e.NodeName = &pod.Spec.NodeName
	}
	if pod.Spec.Subdomain == svc.Name {
		e.Hostname = pod.Spec.Hostname
	}
	return e
}
