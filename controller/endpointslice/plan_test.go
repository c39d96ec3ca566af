package endpointslice

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func service(changes ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "svc"},
		Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, ClusterIP: "10.43.0.9",
			Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}}},
	}
	for _, change := range changes {
		change(svc)
	}
	return svc
}

func pod(n int, changes ...func(*corev1.Pod)) *corev1.Pod {
	name := fmt.Sprintf("p%03d", n)
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

func TestConditions(t *testing.T) {
	unready := func(p *corev1.Pod) { p.Status.Conditions = nil }
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	publish := func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		pod  *corev1.Pod
		want string // ready serving terminating; "" for no endpoint
	}{
		{"ready", service(), pod(1), "true true false"},
		{"unready", service(), pod(1, unready), "false false false"},
		{"on its way out, still serving", service(), pod(1, deleted), "false true true"},
		{"published although unready", service(publish), pod(1, unready), "true false false"},
		{"finished", service(), pod(1, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), ""},
		{"without an address", service(), pod(1, func(p *corev1.Pod) { p.Status.PodIPs = nil }), ""},
		{"of another family", service(), pod(1, func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "fd00::1"}} }), ""},
		{"not selected", service(), pod(1, func(p *corev1.Pod) { p.Labels = nil }), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := Decide(c.svc, []*corev1.Pod{c.pod}, nil, nil)
			if len(plan.Create) != 1 {
				t.Fatalf("got %s, want one slice", plan)
			}
			got := ""
			for _, e := range plan.Create[0].Endpoints {
				got = fmt.Sprint(*e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestStable holds that a plan carried out leaves nothing to do, that slices stay within their limit, and that a change touches few of them.
func TestStable(t *testing.T) {
	svc := service()
	var pods []*corev1.Pod
	for i := range 250 {
		pods = append(pods, pod(i))
	}
	slices := carryOut(nil, Decide(svc, pods, nil, nil))
	if len(slices) != 3 {
		t.Errorf("250 endpoints: got %d slices, want 3", len(slices))
	}
	for _, s := range slices {
		if len(s.Endpoints) > maxEndpoints {
			t.Errorf("slice %s has %d endpoints", s.Name, len(s.Endpoints))
		}
	}
	if again := Decide(svc, pods, slices, nil); again.String() != "" {
		t.Errorf("the same again: got %s, want nothing", again)
	}
	pods = pods[1:]
	if plan := Decide(svc, pods, slices, nil); len(plan.Update) != 1 || len(plan.Create)+len(plan.Delete) != 0 {
		t.Errorf("one pod less: got %s, want one update", plan)
	}
	plan := Decide(svc, nil, slices, nil)
	left := carryOut(slices, plan)
	if len(left) != 1 || len(left[0].Endpoints) != 0 {
		t.Errorf("no pods: got %d slices, want one that is empty", len(left))
	}
}

func TestNamedPortsSplitByPod(t *testing.T) {
	svc := service(func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("http") })
	named := func(port int32) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers = []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: port, Protocol: corev1.ProtocolTCP}}}}
		}
	}
	plan := Decide(svc, []*corev1.Pod{pod(1, named(8080)), pod(2, named(9090)), pod(3, named(8080))}, nil, nil)
	ports := map[int32]int{}
	for _, s := range plan.Create {
		ports[*s.Ports[0].Port] += len(s.Endpoints)
	}
	if len(plan.Create) != 2 || ports[8080] != 2 || ports[9090] != 1 {
		t.Errorf("got %v in %d slices, want two pods at 8080 and one at 9090", ports, len(plan.Create))
	}
}
