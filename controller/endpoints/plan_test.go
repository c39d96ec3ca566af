package endpoints

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func service(changes ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, ClusterIP: "10.43.0.9",
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}}},
	}
	for _, change := range changes {
		change(svc)
	}
	return svc
}

func pod(n int, changes ...func(*corev1.Pod)) *corev1.Pod {
	name := fmt.Sprintf("p%d", n)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: fmt.Sprintf("10.42.%d.%d", n/250, n%250+1)}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func unready(p *corev1.Pod)      { p.Status.Conditions = nil }
func leaving(p *corev1.Pod)      { p.DeletionTimestamp = &metav1.Time{} }
func publish(s *corev1.Service)  { s.Spec.PublishNotReadyAddresses = true }
func portless(s *corev1.Service) { s.Spec.Ports, s.Spec.ClusterIP = nil, corev1.ClusterIPNone }
func sixFirst(s *corev1.Service) {
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
}
func alsoSix(p *corev1.Pod)   { p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: "fd00::1"}) }
func named(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("http") }
func offersPort(p *corev1.Pod) {
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 9090, Protocol: corev1.ProtocolTCP}}}}
}
func hasHostname(p *corev1.Pod)      { p.Spec.Hostname, p.Spec.Subdomain = "zero", "web" }
func elsewhere(p *corev1.Pod)        { p.Spec.Hostname, p.Spec.Subdomain = "zero", "other" }
func finished(p *corev1.Pod)         { p.Status.Phase = corev1.PodSucceeded }
func withoutAddress(p *corev1.Pod)   { p.Status.PodIPs = nil }
func external(s *corev1.Service)     { s.Spec.Type = corev1.ServiceTypeExternalName }
func selectorless(s *corev1.Service) { s.Spec.Selector = nil }

// show writes subsets as people read them: ready ones, a bar, the others, and the ports.
func show(subsets []corev1.EndpointSubset) string {
	var out []string
	list := func(all []corev1.EndpointAddress) string {
		var names []string
		for _, a := range all {
			names = append(names, strings.TrimSuffix(a.IP+"="+a.TargetRef.Name+"."+a.Hostname, "."))
		}
		return strings.Join(names, ",")
	}
	for _, s := range subsets {
		line := list(s.Addresses) + "|" + list(s.NotReadyAddresses)
		for _, p := range s.Ports {
			line += fmt.Sprintf(" %s:%d", p.Name, p.Port)
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

func TestSubsets(t *testing.T) {
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		pods []*corev1.Pod
		want string
	}{
		{"nobody", service(), nil, ""},
		{"ready and not", service(), []*corev1.Pod{pod(2), pod(1), pod(3, unready)}, "10.42.0.2=p1,10.42.0.3=p2|10.42.0.4=p3 http:8080"},
		{"all published", service(publish), []*corev1.Pod{pod(1, unready), pod(2, leaving)}, "10.42.0.2=p1,10.42.0.3=p2| http:8080"},
		{"on their way out, finished, without an address", service(), []*corev1.Pod{pod(1, leaving), pod(2, finished), pod(3, withoutAddress)}, ""},
		{"the first family alone", service(sixFirst), []*corev1.Pod{pod(1, alsoSix), pod(2)}, "fd00::1=p1| http:8080"},
		{"a named port", service(named), []*corev1.Pod{pod(1, offersPort), pod(2)}, "10.42.0.2=p1| http:9090"},
		{"no ports", service(portless), []*corev1.Pod{pod(1)}, "10.42.0.2=p1|"},
		{"hostnames of this Service", service(), []*corev1.Pod{pod(1, hasHostname), pod(2, elsewhere)}, "10.42.0.2=p1.zero,10.42.0.3=p2| http:8080"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := Decide(c.svc, c.pods, nil)
			if got := show(plan.Endpoints.Subsets); plan.Action != Create || got != c.want {
				t.Fatalf("got %s: %s, want %s", plan.Action, got, c.want)
			}
			if again := Decide(c.svc, c.pods, plan.Endpoints); again.Action != Nothing {
				t.Errorf("the same again: %s, want nothing", again)
			}
		})
	}
}

func TestWhoseObjectItIs(t *testing.T) {
	own := Decide(service(), []*corev1.Pod{pod(1)}, nil).Endpoints
	users := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Annotations: map[string]string{"note": "mine"}}}
	for _, c := range []struct {
		name     string
		svc      *corev1.Service
		existing *corev1.Endpoints
		want     string
	}{
		{"a Service goes", nil, own, "delete: 1 ready, 0 not, in 1 subsets"},
		{"a Service goes, its object was a user's", nil, users, "delete: 0 ready, 0 not, in 0 subsets"},
		{"nothing at all", nil, nil, "nothing"},
		{"no selector", service(selectorless), users, "nothing"},
		{"a name outside", service(external), users, "nothing"},
		{"a user's object where there is a selector", service(), users, "update: 1 ready, 0 not, in 1 subsets"},
		{"a label of the Service", service(func(s *corev1.Service) { s.Labels["team"] = "b" }), own, "update: 1 ready, 0 not, in 1 subsets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := Decide(c.svc, []*corev1.Pod{pod(1)}, c.existing)
			if plan.String() != c.want {
				t.Fatalf("got %s, want %s", plan, c.want)
			}
			if plan.Action == Update && c.existing == users && plan.Endpoints.Annotations["note"] != "mine" {
				t.Error("what else the user wrote is lost")
			}
		})
	}
}

// TestRoom: an object holds 1000 addresses, ready ones first, and says when it holds fewer than there are.
func TestRoom(t *testing.T) {
	var pods []*corev1.Pod
	for i := range maxAddresses + 5 {
		if i < 10 {
			pods = append(pods, pod(i, unready))
		} else {
			pods = append(pods, pod(i))
		}
	}
	full := Decide(service(), pods, nil).Endpoints
	if s := full.Subsets[0]; len(s.Addresses) != maxAddresses-5 || len(s.NotReadyAddresses) != 5 {
		t.Errorf("got %d ready and %d not, want 995 and 5", len(s.Addresses), len(s.NotReadyAddresses))
	}
	if full.Annotations[corev1.EndpointsOverCapacity] != overCapacity {
		t.Error("an object that is cut short does not say so")
	}
	if fewer := Decide(service(), pods[:20], full).Endpoints; fewer.Annotations[corev1.EndpointsOverCapacity] != "" {
		t.Error("an object that is whole again says that it is cut short")
	}
}

func TestLabels(t *testing.T) {
	headless := Decide(service(portless), nil, nil).Endpoints
	if _, ok := headless.Labels[corev1.IsHeadlessService]; !ok || headless.Labels["team"] != "a" || headless.Labels[LabelManagedBy] != managedBy {
		t.Errorf("labels of a headless Service's: %v", headless.Labels)
	}
	if after := Decide(service(), nil, headless).Endpoints; after.Labels[corev1.IsHeadlessService] != "" || len(after.Labels) != 2 {
		t.Errorf("labels once it has an address: %v", after.Labels)
	}
}
