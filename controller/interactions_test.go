package controller_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/internal/testkit"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/kubetest"
)

// transcript writes down what one controller wrote in each step of a story. How often it wrote a status, told an event again, or lost a race
// against another controller, is left out, as that depends on how fast each of them is.
type transcript struct {
	*world
	controller string
	out        strings.Builder
}

var generated = regexp.MustCompile(`(pods [a-z0-9-]*-|endpointslices web-)[a-z0-9]{5}\b`)

func (s *transcript) step(title string, until func() error) {
	s.t.Helper()
	s.until(until)
	counts := map[string]int{}
	for line := range strings.Lines(s.writes[s.controller].Log()) {
		line = generated.ReplaceAllString(strings.TrimSuffix(line, "\n"), "${1}*")
		if strings.HasPrefix(line, "create events") || strings.HasPrefix(line, "patch events") || strings.HasPrefix(line, "update status") ||
			strings.HasPrefix(line, "update ") && strings.HasSuffix(line, ": Conflict") {
			continue
		}
		counts[line]++
	}
	fmt.Fprintf(&s.out, "%s\n", title)
	for _, line := range slices.Sorted(maps.Keys(counts)) {
		if strings.HasPrefix(line, "update ") {
			fmt.Fprintf(&s.out, "  %s\n", line)
		} else {
			fmt.Fprintf(&s.out, "  %d x %s\n", counts[line], line)
		}
	}
}

func (s *transcript) patch(res string, spec map[string]any) {
	s.t.Helper()
	gvr := kube.ReplicaSets
	switch res {
	case "deployments":
		gvr = kube.Deployments
	case "services":
		gvr = kube.Services
	}
	if _, err := kube.MergePatch(s.ctx, s.world, gvr, "default", "web", map[string]any{"spec": spec}); err != nil {
		s.t.Fatal(err)
	}
}

// replicas waits until the set is seen to have so many pods, and whether it tells of a failure.
func (s *transcript) replicas(n int32, failed bool) func() error {
	return func() error {
		rs, ok := kube.Get[*appsv1.ReplicaSet](s, kube.ReplicaSets, "default", "web")
		if !ok || rs.Status.Replicas != n || rs.Status.ObservedGeneration != rs.Generation || (len(rs.Status.Conditions) > 0) != failed {
			return fmt.Errorf("status %+v, want %d replicas", rs.Status, n)
		}
		return s.count(int(n))()
	}
}

func TestInteractionsOfReplicaSet(t *testing.T) {
	s := &transcript{world: newWorld(t), controller: "replicaset"}
	writes := s.writes["replicaset"]
	writes.Fail(kubetest.Fault{Verb: "create", Resource: "pods", Nth: 3, Err: kubetest.Refused("pods")})
	three := int32(3)
	s.create(&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.ReplicaSetSpec{Replicas: &three, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: template("web:1", nil)}})
	s.step("three pods, of which the third is refused at first", s.replicas(3, false))

	writes.Fail(kubetest.Fault{Verb: "patch", Resource: "pods", Nth: 1, Err: kubetest.Conflict("pods", "orphan")})
	s.patch("replicasets", map[string]any{"replicas": 0})
	s.step("none any more", s.replicas(0, false))
	orphan := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: map[string]string{"app": "web"},
		Finalizers: []string{"example.com/hold"}}, Spec: template("web:1", nil).Spec}
	s.create(orphan)
	s.step("an orphan, whose adoption loses a race, and which is too many then", func() error {
		pod, ok := kube.Get[*corev1.Pod](s, kube.Pods, "default", "orphan")
		if !ok || len(pod.OwnerReferences) != 1 || pod.DeletionTimestamp == nil {
			return fmt.Errorf("orphan: there %v", ok)
		}
		return nil
	})
	if rs, _ := kube.Get[*appsv1.ReplicaSet](s, kube.ReplicaSets, "default", "web"); len(rs.Status.Conditions) != 0 {
		t.Errorf("a lost race counts as a failure: %+v", rs.Status.Conditions)
	}

	writes.Fail(kubetest.Fault{Verb: "create", Resource: "pods", Err: kubetest.Unavailable()})
	s.patch("replicasets", map[string]any{"replicas": 2})
	s.until(func() error {
		rs, _ := kube.Get[*appsv1.ReplicaSet](s, kube.ReplicaSets, "default", "web")
		if c := rs.Status.Conditions; len(c) != 1 || c[0].Type != appsv1.ReplicaSetReplicaFailure || c[0].Reason != "FailedCreate" {
			return fmt.Errorf("conditions %+v, want a failure", c)
		}
		return nil
	})
	writes.Heal()
	writes.Log() // how often it tried depends on the time
	s.step("two, once the server takes them again", s.replicas(2, false))
	testkit.Golden(t, "interactions/replicaset.txt", s.out.String())
}

func TestInteractionsOfDeployment(t *testing.T) {
	s := &transcript{world: newWorld(t), controller: "deployment"}
	s.create(deployment(2, template("web:1", nil)))
	s.step("two replicas", s.rolledOut(2))
	image := func(image string) map[string]any {
		return map[string]any{"spec": map[string]any{"containers": []map[string]any{{"name": "c", "image": image}}}}
	}
	s.patch("deployments", map[string]any{"template": image("web:2")})
	s.step("another image", s.rolledOut(2))
	s.patch("deployments", map[string]any{"paused": true})
	s.patch("deployments", map[string]any{"template": image("web:3")})
	s.patch("deployments", map[string]any{"template": image("web:4")})
	s.step("paused, and two edits", func() error {
		d, _ := kube.Get[*appsv1.Deployment](s, kube.Deployments, "default", "web")
		if d.Status.ObservedGeneration != d.Generation {
			return fmt.Errorf("not seen yet")
		}
		return nil
	})
	s.patch("deployments", map[string]any{"paused": false})
	s.step("gone on", s.rolledOut(2))
	testkit.Golden(t, "interactions/deployment.txt", s.out.String())
}

func TestInteractionsOfEndpointSlice(t *testing.T) {
	s := &transcript{world: newWorld(t), controller: "endpointslice"}
	ready := func(n int) func() error {
		return func() error {
			s.kubelet()
			got := 0
			for _, slice := range kube.By[*discoveryv1.EndpointSlice](s, kube.EndpointSlices, kube.ByService, "default/web") {
				for _, e := range slice.Endpoints {
					if *e.Conditions.Ready {
						got++
					}
				}
			}
			if got != n {
				return fmt.Errorf("%d ready endpoints, want %d", got, n)
			}
			return nil
		}
	}
	s.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": "web"}}})
	s.step("a Service without pods", func() error {
		if len(kube.By[*discoveryv1.EndpointSlice](s, kube.EndpointSlices, kube.ByService, "default/web")) == 0 {
			return fmt.Errorf("no slice")
		}
		return nil
	})
	s.writes["endpointslice"].Fail(kubetest.Fault{Verb: "update", Nth: 1, Err: kubetest.Unavailable()})
	s.create(deployment(2, template("web:1", nil)))
	s.step("two pods, and a server that fails once", ready(2))
	s.patch("services", map[string]any{"selector": nil})
	s.patch("services", map[string]any{"publishNotReadyAddresses": true})
	s.step("no selector any more", ready(2))
	testkit.Golden(t, "interactions/endpointslice.txt", s.out.String())
}
