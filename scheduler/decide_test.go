package scheduler

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func node(name string, cpu, memory string, changes ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse("3")}},
	}
	for _, change := range changes {
		change(n)
	}
	return n
}

func pod(name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{SchedulerName: corev1.DefaultSchedulerName, Containers: []corev1.Container{{Name: "c"}}}}
	for _, change := range changes {
		change(p)
	}
	return p
}

func asks(cpu, memory string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
}

func port(n int32, ip string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{HostPort: n, HostIP: ip, ContainerPort: n, Protocol: corev1.ProtocolTCP})
	}
}

func tainted(effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "k", Value: "v", Effect: effect})
	}
}

func selects(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} }
}

func toleratesKV(p *corev1.Pod) {
	p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpEqual, Value: "v"}}
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name   string
		nodes  []*corev1.Node
		placed map[string]string // pod that asks for 1 CPU and 1 GiB -> node
		pod    *corev1.Pod
		want   string
	}{
		{"no nodes", nil, nil, pod("p"), "no nodes available to schedule pods"},
		{"the only node", []*corev1.Node{node("a", "2", "2Gi")}, nil, pod("p"), "a"},
		{"the emptier node", []*corev1.Node{node("a", "4", "4Gi"), node("b", "4", "4Gi")}, map[string]string{"x": "a"}, pod("p", asks("1", "1Gi")), "b"},
		{"too little CPU", []*corev1.Node{node("a", "500m", "2Gi")}, nil, pod("p", asks("1", "1Gi")), "0/1 nodes are available: 1 Insufficient cpu."},
		{"reasons add up", []*corev1.Node{node("a", "500m", "100Mi"), node("b", "8", "100Mi")}, nil, pod("p", asks("1", "1Gi")),
			"0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient memory."},
		{"too many pods", []*corev1.Node{node("a", "8", "8Gi")}, map[string]string{"x": "a", "y": "a", "z": "a"}, pod("p"), "0/1 nodes are available: 1 Too many pods."},
		{"selector", []*corev1.Node{node("a", "2", "2Gi"), node("b", "2", "2Gi")}, nil, pod("p", selects(corev1.LabelHostname, "b")), "b"},
		{"selector of nothing", []*corev1.Node{node("a", "2", "2Gi")}, nil, pod("p", selects("disk", "ssd")), "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."},
		{"taint", []*corev1.Node{node("a", "2", "2Gi", tainted(corev1.TaintEffectNoSchedule))}, nil, pod("p"), "0/1 nodes are available: 1 node(s) had untolerated taint(s)."},
		{"tolerated taint", []*corev1.Node{node("a", "2", "2Gi", tainted(corev1.TaintEffectNoExecute))}, nil, pod("p", toleratesKV), "a"},
		{"soft taint", []*corev1.Node{node("a", "2", "2Gi", tainted(corev1.TaintEffectPreferNoSchedule)), node("b", "2", "2Gi")}, nil, pod("p"), "b"},
		{"cordoned", []*corev1.Node{node("a", "2", "2Gi", func(n *corev1.Node) { n.Spec.Unschedulable = true })}, nil, pod("p"), "0/1 nodes are available: 1 node(s) were unschedulable."},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewState()
			for _, n := range c.nodes {
				s.SetNode(n)
			}
			for name, on := range c.placed {
				s.Place(pod(name, asks("1", "1Gi")), on)
			}
			if got := s.Decide(s.Class(c.pod)).String(); got != c.want {
				t.Errorf("got:  %s\nwant: %s", got, c.want)
			}
		})
	}
}

func TestHostPorts(t *testing.T) {
	s := NewState()
	s.SetNode(node("a", "8", "8Gi"))
	s.Place(pod("x", port(80, "127.0.0.1")), "a")
	for _, c := range []struct {
		p    *corev1.Pod
		want string
	}{
		{pod("same", port(80, "127.0.0.1")), "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."},
		{pod("all", port(80, "")), "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."},
		{pod("otherip", port(80, "10.0.0.1")), "a"},
		{pod("otherport", port(81, "")), "a"},
	} {
		if got := s.Decide(s.Class(c.p)).String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.p.Name, got, c.want)
		}
	}
	s.Remove("x")
	if got := s.Decide(s.Class(pod("same", port(80, "127.0.0.1")))).String(); got != "a" {
		t.Errorf("after the port is free again: got %s, want a", got)
	}
}

// naive decides like State does, from the objects themselves, slowly: it is what the columns and classes are held against.
type naive struct {
	nodes map[string]*corev1.Node
	on    map[string][]*corev1.Pod
}

func (n naive) fits(p *corev1.Pod, node *corev1.Node) bool {
	if node.Spec.Unschedulable {
		return false
	}
	for i := range node.Spec.Taints {
		if node.Spec.Taints[i].Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(p.Spec.Tolerations, &node.Spec.Taints[i]) {
			return false
		}
	}
	for k, v := range p.Spec.NodeSelector {
		if node.Labels[k] != v {
			return false
		}
	}
	count := int64(1)
	used := map[corev1.ResourceName]int64{}
	for _, x := range append([]*corev1.Pod{p}, n.on[node.Name]...) {
		for name, q := range x.Spec.Containers[0].Resources.Requests {
			used[name] += q.MilliValue()
		}
		if x != p {
			count++
			for _, a := range x.Spec.Containers[0].Ports {
				for _, b := range p.Spec.Containers[0].Ports {
					if a.HostPort == b.HostPort && (a.HostIP == "" || b.HostIP == "" || a.HostIP == b.HostIP) {
						return false
					}
				}
			}
		}
	}
	for name, q := range p.Spec.Containers[0].Resources.Requests {
		alloc := node.Status.Allocatable[name]
		if !q.IsZero() && used[name] > alloc.MilliValue() {
			return false
		}
	}
	pods := node.Status.Allocatable[corev1.ResourcePods]
	return count <= pods.Value()
}

// TestAgainstNaive changes a cluster at random and compares, for every decision, what fits by columns with what fits by looking.
func TestAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := NewState()
	n := naive{map[string]*corev1.Node{}, map[string][]*corev1.Pod{}}
	randomNode := func(name string) *corev1.Node {
		x := node(name, fmt.Sprint(r.IntN(4)+1), fmt.Sprint(r.IntN(4)+1, "Gi"))
		x.Labels["zone"] = fmt.Sprint(r.IntN(3))
		if r.IntN(6) == 0 {
			tainted(corev1.TaintEffectNoSchedule)(x)
		}
		x.Spec.Unschedulable = r.IntN(10) == 0
		return x
	}
	fitted, refused := 0, 0
	for i := range 5000 {
		switch r.IntN(6) {
		case 0:
			x := randomNode(fmt.Sprint("n", r.IntN(8)))
			s.SetNode(x)
			n.nodes[x.Name] = x
		case 1:
			for name, pods := range n.on {
				if len(pods) > 0 && r.IntN(3) == 0 {
					s.Remove(pods[0].UID)
					n.on[name] = pods[1:]
				}
			}
		case 2:
			if r.IntN(5) == 0 {
				for name := range n.nodes {
					s.RemoveNode(name)
					delete(n.nodes, name)
					break
				}
			}
		default:
			p := pod(fmt.Sprint("p", i))
			if r.IntN(3) > 0 {
				asks(fmt.Sprint(r.IntN(2000), "m"), fmt.Sprint(r.IntN(2000), "Mi"))(p)
			}
			if r.IntN(4) == 0 {
				port(int32(r.IntN(3)+80), []string{"", "10.0.0.1"}[r.IntN(2)])(p)
			}
			if r.IntN(4) == 0 {
				selects("zone", fmt.Sprint(r.IntN(3)))(p)
			}
			if r.IntN(3) == 0 {
				toleratesKV(p)
			}
			got := map[string]bool{}
			class := s.Class(p)
			class.look(s)
			for k, fits := range class.fits {
				got[s.names[k]] = fits
			}
			for name, x := range n.nodes {
				if n.fits(p, x) != got[name] {
					t.Fatalf("step %d: node %s for %s: columns say %v, looking says %v", i, name, p.Name, got[name], !got[name])
				}
			}
			if d := s.Decide(s.Class(p)); d.Node != "" {
				fitted++
				s.Place(p, d.Node)
				n.on[d.Node] = append(n.on[d.Node], p)
			} else {
				refused++
			}
		}
	}
	if fitted < 100 || refused < 100 {
		t.Errorf("%d pods fitted and %d did not: the test does not try both", fitted, refused)
	}
}

func TestCloneIsIndependent(t *testing.T) {
	s := NewState()
	s.SetNode(node("a", "1", "2Gi"))
	c := s.Clone()
	c.Place(pod("x", asks("1", "1Gi")), "a")
	if got := s.Decide(s.Class(pod("p", asks("1", "1Gi")))).String(); got != "a" {
		t.Errorf("the original after a placement in the clone: got %s, want a", got)
	}
	if got := c.Decide(c.Class(pod("p", asks("1", "1Gi")))).String(); !strings.Contains(got, "Insufficient cpu") {
		t.Errorf("the clone: got %s, want Insufficient cpu", got)
	}
}

func BenchmarkDecide(b *testing.B) {
	s := NewState()
	for i := range 5000 {
		n := node(fmt.Sprint("n", i), "4", "32Gi")
		n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("110")
		s.SetNode(n)
	}
	p := pod("p", asks("100m", "500Mi"))
	i := 0
	for b.Loop() {
		x := *p
		x.UID = types.UID(fmt.Sprint(i))
		i++
		d := s.Decide(s.Class(&x))
		if d.Node == "" {
			b.Fatal(d)
		}
		s.Place(&x, d.Node)
		if i%100000 == 0 {
			for k := range i {
				s.Remove(types.UID(fmt.Sprint(k)))
			}
		}
	}
}
