package scheduler

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
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
	s.Place(pod("y", sidecar(443, true, "0"), sidecar(444, false, "0")), "a")
	for port443, want := range map[int32]string{443: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.", 444: "a"} {
		if got := s.Decide(s.Class(pod("z", port(port443, "")))).String(); got != want {
			t.Errorf("port %d beside init containers: got %s, want %s", port443, got, want)
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

// running are the containers whose ports and requests count together: all but those that end before the others start.
func running(p *corev1.Pod) []corev1.Container {
	out := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}

// asked sums up what a pod requests of a resource, in thousandths.
func asked(p *corev1.Pod, name corev1.ResourceName) (sum int64) {
	for _, c := range running(p) {
		q := c.Resources.Requests[name]
		sum += q.MilliValue()
	}
	return sum
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
	if name, ok := pinnedTo(p); ok && name != node.Name {
		return false
	}
	for _, other := range n.on[node.Name] {
		if clash(p, other) {
			return false
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, gadget} {
		used := asked(p, name)
		if used == 0 {
			continue
		}
		for _, other := range n.on[node.Name] {
			used += asked(other, name)
		}
		if alloc := node.Status.Allocatable[name]; used > alloc.MilliValue() {
			return false
		}
	}
	pods := node.Status.Allocatable[corev1.ResourcePods]
	return int64(len(n.on[node.Name])+1) <= pods.Value()
}

func clash(p, q *corev1.Pod) bool {
	for _, a := range running(p) {
		for _, b := range running(q) {
			for _, x := range a.Ports {
				for _, y := range b.Ports {
					if x.HostPort > 0 && x.HostPort == y.HostPort && (x.HostIP == "" || y.HostIP == "" || x.HostIP == y.HostIP) {
						return true
					}
				}
			}
		}
	}
	return false
}

// totals scores every node that fits.
func (n naive) totals(p *corev1.Pod) map[string]int64 {
	taints, labels, out := map[string]int64{}, map[string]int64{}, map[string]int64{}
	mostTaints, mostLabels := int64(0), int64(0)
	for name, node := range n.nodes {
		if !n.fits(p, node) {
			continue
		}
		out[name] = 0
		for i := range node.Spec.Taints {
			if t := node.Spec.Taints[i]; t.Effect == corev1.TaintEffectPreferNoSchedule && !tolerates(p.Spec.Tolerations, &t) {
				taints[name]++
			}
		}
		if p.Spec.Affinity != nil {
			for _, term := range p.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
				if e := term.Preference.MatchExpressions[0]; slices.Contains(e.Values, node.Labels[e.Key]) {
					labels[name] += int64(term.Weight)
				}
			}
		}
		mostTaints, mostLabels = max(mostTaints, taints[name]), max(mostLabels, labels[name])
	}
	for name := range out {
		if out[name] = 300; mostTaints > 0 {
			out[name] = 3 * (100 - 100*taints[name]/mostTaints)
		}
		if mostLabels > 0 {
			out[name] += 2 * (100 * labels[name] / mostLabels)
		}
		out[name] += n.filling(p, n.nodes[name])
	}
	return out
}

// filling scores what is left of a node, and how evenly it fills.
func (n naive) filling(p *corev1.Pod, node *corev1.Node) int64 {
	var alloc, with, without, guessed [2]float64
	for k, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		q := node.Status.Allocatable[name]
		alloc[k] = float64(q.MilliValue())
		for _, x := range append([]*corev1.Pod{p}, n.on[node.Name]...) {
			want := asked(x, name)
			if x != p {
				without[k] += float64(want)
			}
			with[k] += float64(want)
			if want == 0 {
				want = []int64{100, 200 << 20 * 1000}[k]
			}
			guessed[k] += float64(want)
		}
	}
	least := int64(0)
	for k := range alloc {
		if guessed[k] <= alloc[k] {
			least += int64((alloc[k] - guessed[k]) * 100 / alloc[k])
		}
	}
	even := func(used [2]float64) int64 {
		return int64((1 - math.Abs(min(1, used[0]/alloc[0])-min(1, used[1]/alloc[1]))/2) * 100)
	}
	sum := least / 2
	if asked(p, corev1.ResourceCPU)+asked(p, corev1.ResourceMemory)+asked(p, gadget) > 0 {
		sum += 50 + (50+even(with)-even(without))/2
	}
	return sum
}

const gadget = corev1.ResourceName("example.com/gadget")

// pinned makes the pod name its only node, as a DaemonSet's do.
func pinned(to string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{to}}}}}}}}
	}
}

func pinnedTo(p *corev1.Pod) (string, bool) {
	if p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return "", false
	}
	return p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0], true
}

func prefers(weight int32, key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		if p.Spec.Affinity == nil {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}
		}
		terms := &p.Spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution
		*terms = append(*terms, corev1.PreferredSchedulingTerm{Weight: weight, Preference: corev1.NodeSelectorTerm{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{value}}}}})
	}
}

// sidecar adds an init container with a port, which runs on beside the others or not.
func sidecar(n int32, stays bool, cpu string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c := corev1.Container{Name: "s", Ports: []corev1.ContainerPort{{HostPort: n, ContainerPort: n, Protocol: corev1.ProtocolTCP}}}
		if stays {
			c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
			c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
}

func randomNode(r *rand.Rand, name string) *corev1.Node {
	x := node(name, fmt.Sprint(r.IntN(4)+1), fmt.Sprint(r.IntN(4)+1, "Gi"))
	x.Labels["zone"] = fmt.Sprint(r.IntN(3))
	if r.IntN(3) == 0 {
		x.Status.Allocatable[gadget] = resource.MustParse("2")
	}
	if r.IntN(6) == 0 {
		tainted(corev1.TaintEffectNoSchedule)(x)
	}
	if r.IntN(3) == 0 {
		tainted(corev1.TaintEffectPreferNoSchedule)(x)
	}
	x.Spec.Unschedulable = r.IntN(10) == 0
	return x
}

func randomPod(r *rand.Rand, name string) *corev1.Pod {
	p := pod(name)
	one := func(of int, change func(*corev1.Pod)) {
		if r.IntN(of) == 0 {
			change(p)
		}
	}
	if r.IntN(3) > 0 {
		// A few sizes only: otherwise every pod is a class of its own.
		asks(fmt.Sprint(r.IntN(4)*500, "m"), fmt.Sprint(r.IntN(4)*500, "Mi"))(p)
		if r.IntN(5) == 0 {
			p.Spec.Containers[0].Resources.Requests[gadget] = resource.MustParse("1")
		}
	}
	one(4, port(int32(r.IntN(3)+80), []string{"", "10.0.0.1"}[r.IntN(2)]))
	one(6, sidecar(int32(r.IntN(3)+80), r.IntN(2) == 0, fmt.Sprint(r.IntN(3)*250, "m")))
	one(4, selects("zone", fmt.Sprint(r.IntN(3))))
	one(3, toleratesKV)
	one(12, pinned(fmt.Sprint("n", r.IntN(8))))
	one(4, prefers(int32(r.IntN(3)*10+1), "zone", fmt.Sprint(r.IntN(3))))
	return p
}

// TestAgainstNaive changes a cluster at random and compares every decision with what looking at all objects says: which nodes fit, and that
// the chosen one is among the best.
func TestAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := NewState()
	n := naive{map[string]*corev1.Node{}, map[string][]*corev1.Pod{}}
	fitted, refused := 0, 0
	for i := range 8000 {
		switch r.IntN(7) {
		case 0:
			x := randomNode(r, fmt.Sprint("n", r.IntN(8)))
			s.SetNode(x)
			n.nodes[x.Name] = x
		case 1, 2:
			for _, name := range slices.Sorted(maps.Keys(n.on)) {
				if pods := n.on[name]; len(pods) > 0 && r.IntN(3) == 0 {
					s.Remove(pods[0].UID)
					n.on[name] = pods[1:]
				}
			}
		case 3:
			if names := slices.Sorted(maps.Keys(n.nodes)); r.IntN(5) == 0 && len(names) > 0 {
				s.RemoveNode(names[0])
				delete(n.nodes, names[0])
			}
		default:
			p := randomPod(r, fmt.Sprint("p", i))
			class := s.Class(p)
			for name, x := range n.nodes {
				if got := s.fits(class, s.index[name]); n.fits(p, x) != got {
					t.Fatalf("step %d: node %s for %s: columns say %v, looking says %v", i, name, p.Name, got, !got)
				}
			}
			d := s.Decide(class)
			totals := n.totals(p)
			if (d.Node == "") != (len(totals) == 0) {
				t.Fatalf("step %d: %s is decided to go to %q; %d nodes fit", i, p.Name, d.Node, len(totals))
			}
			if d.Node == "" {
				refused++
				break
			}
			for name, sum := range totals {
				if sum > totals[d.Node] {
					t.Fatalf("step %d: %s goes to %s, which is worth %d; %s is worth %d", i, p.Name, d.Node, totals[d.Node], name, sum)
				}
			}
			fitted++
			s.Place(p, d.Node)
			n.on[d.Node] = append(n.on[d.Node], p)
		}
		if len(s.names) > 16 {
			t.Fatalf("step %d: %d columns for at most 8 nodes: those of nodes that are gone are not used again", i, len(s.names))
		}
	}
	if fitted < 500 || refused < 500 {
		t.Errorf("%d pods fitted and %d did not: the test does not try both", fitted, refused)
	}
}

// TestClassesGo holds that classes do not outlive their pods, but for those whose columns are worth keeping.
func TestClassesGo(t *testing.T) {
	s := NewState()
	s.SetNode(node("a", "1000", "1000Gi", func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("100000") }))
	const many = 3 * maxColumns
	for i := range many {
		for k := range 3 { // from the second decision on, a class keeps columns
			p := pod(fmt.Sprint(i, "-", k), asks(fmt.Sprint(i+1, "m"), "1Mi"))
			s.Place(p, s.Decide(s.Class(p)).Node)
		}
	}
	if len(s.classes) != many || len(s.warm) != maxColumns {
		t.Errorf("with pods of %d classes: %d classes, %d with columns; want %d with columns", many, len(s.classes), len(s.warm), maxColumns)
	}
	for i := range many {
		for k := range 3 {
			s.Remove(types.UID(fmt.Sprint(i, "-", k)))
		}
	}
	if len(s.classes) != maxColumns || len(s.warm) != maxColumns {
		t.Errorf("without pods: %d classes, %d with columns; want the %d last used", len(s.classes), len(s.warm), maxColumns)
	}
	if s.used[dimCPU][0] != 0 || s.used[dimPods][0] != 0 || s.guessed[dimMemory][0] != 0 {
		t.Errorf("without pods something is used: %v %v", s.used, s.guessed)
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
