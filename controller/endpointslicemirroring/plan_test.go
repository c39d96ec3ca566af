package endpointslicemirroring

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func service(selector map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"}, Spec: corev1.ServiceSpec{Selector: selector}}
}

func endpoints(subsets ...corev1.EndpointSubset) *corev1.Endpoints {
	return &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db", UID: "e", Labels: map[string]string{"team": "a"},
		Annotations: map[string]string{"note": "x", corev1.EndpointsLastChangeTriggerTime: "then", corev1.LastAppliedConfigAnnotation: "{}"}}, Subsets: subsets}
}

func subset(port int32, ready []string, unready ...string) corev1.EndpointSubset {
	s := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: "sql", Port: port, Protocol: corev1.ProtocolTCP}}}
	for _, ip := range ready {
		s.Addresses = append(s.Addresses, corev1.EndpointAddress{IP: ip, Hostname: "h"})
	}
	for _, ip := range unready {
		s.NotReadyAddresses = append(s.NotReadyAddresses, corev1.EndpointAddress{IP: ip})
	}
	return s
}

// carryOut makes the slices that a plan leads to.
func carryOut(existing []*discoveryv1.EndpointSlice, plan Plan) []*discoveryv1.EndpointSlice {
	next := map[string]*discoveryv1.EndpointSlice{}
	for _, s := range existing {
		next[s.Name] = s
	}
	for i, s := range plan.Create {
		s.Name = fmt.Sprintf("%s%d-%d", s.GenerateName, len(existing), i)
		next[s.Name] = s
	}
	for _, s := range plan.Update {
		next[s.Name] = s
	}
	for _, s := range plan.Delete {
		delete(next, s.Name)
	}
	var out []*discoveryv1.EndpointSlice
	for _, s := range next {
		out = append(out, s)
	}
	return out
}

func TestLifeOfAMirror(t *testing.T) {
	svc := service(nil)
	var slices []*discoveryv1.EndpointSlice
	step := func(title string, e *corev1.Endpoints, want string) {
		t.Helper()
		plan := Decide(e, svc, slices)
		if plan.String() != want {
			t.Fatalf("%s: got %q, want %q", title, plan, want)
		}
		slices = carryOut(slices, plan)
		if again := Decide(e, svc, slices); again.String() != "" {
			t.Fatalf("%s, and the same again: got %q, want nothing", title, again)
		}
	}
	step("first", endpoints(subset(5432, []string{"10.1.0.2", "10.1.0.1"}, "10.1.0.3")), "create IPv4 with 3 endpoints")
	s := slices[0]
	if got := s.Endpoints[0]; got.Addresses[0] != "10.1.0.1" || !*got.Conditions.Ready || *got.Hostname != "h" {
		t.Errorf("the first endpoint: %+v", got)
	}
	if *s.Endpoints[2].Conditions.Ready || *s.Ports[0].Port != 5432 || *s.Ports[0].Name != "sql" {
		t.Errorf("the slice: %+v", s)
	}
	if s.Labels["team"] != "a" || s.Labels[discoveryv1.LabelServiceName] != "db" || s.Labels[discoveryv1.LabelManagedBy] != managedBy {
		t.Errorf("labels: %v", s.Labels)
	}
	if len(s.Annotations) != 1 || s.Annotations["note"] != "x" {
		t.Errorf("annotations: %v", s.Annotations)
	}
	if owner := metav1.GetControllerOf(s); owner == nil || owner.Kind != "Endpoints" || owner.UID != "e" {
		t.Errorf("owner: %v", owner)
	}
	step("an address goes", endpoints(subset(5432, []string{"10.1.0.1"})), "update db-0-0 to 1 endpoints")
	step("another port and another family", endpoints(subset(5432, []string{"10.1.0.1", "fd00::1"}), subset(80, []string{"10.1.0.9"})),
		"create IPv4 with 1 endpoints; create IPv6 with 1 endpoints")
	step("nothing is left", endpoints(), "delete db-0-0; delete db-1-0; delete db-1-1")
}

func TestWhatIsNotMirrored(t *testing.T) {
	plain := endpoints(subset(80, []string{"10.1.0.1"}))
	with := func(change func(*corev1.Endpoints)) *corev1.Endpoints {
		e := plain.DeepCopy()
		change(e)
		return e
	}
	there := carryOut(nil, Decide(plain, service(nil), nil))
	for _, c := range []struct {
		name string
		e    *corev1.Endpoints
		svc  *corev1.Service
	}{
		{"none", nil, service(nil)},
		{"no Service", plain, nil},
		{"a Service that selects pods", plain, service(map[string]string{"app": "db"})},
		{"told not to", with(func(e *corev1.Endpoints) { e.Labels[discoveryv1.LabelSkipMirror] = "true" }), service(nil)},
		{"made from pods", with(func(e *corev1.Endpoints) { e.Labels[labelMaker] = "endpoint-controller" }), service(nil)},
		{"a lock", with(func(e *corev1.Endpoints) { e.Annotations[annotationLeader] = "{}" }), service(nil)},
		{"on its way out", with(func(e *corev1.Endpoints) { e.DeletionTimestamp = &metav1.Time{} }), service(nil)},
	} {
		if got := Decide(c.e, c.svc, there).String(); got != "delete db-0-0" {
			t.Errorf("%s: got %q, want the slice to go", c.name, got)
		}
	}
}

func TestRoom(t *testing.T) {
	var ready []string
	for i := range maxEndpoints {
		ready = append(ready, fmt.Sprintf("10.1.%d.%d", i/200, i%200+1))
	}
	plan := Decide(endpoints(subset(80, ready, "10.2.0.1", "10.2.0.2")), service(nil), nil)
	if plan.String() != "create IPv4 with 1000 endpoints; leave out 2 addresses" {
		t.Errorf("got %s", plan)
	}
}
