package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// State is everything a decision depends on: the nodes as columns, what their pods use, and the classes of pods seen so far.
// One goroutine owns it. Decide is a function of a State and a class; Clone serves tests and what-ifs.
type State struct {
	names []string // column heads; a removed node's column is reused
	index map[string]int
	nodes []*corev1.Node // nil: no such node (any more)

	allocatable [][]int64 // by dimension, then node
	used        [][]int64
	guessed     [2][]int64 // cpu and memory with a guess for pods that ask for none; scores use it
	dimensions  []corev1.ResourceName
	ports       []map[hostPort]int

	placed  map[types.UID]placement
	classes map[string]*Class
	present int // nodes that exist
	start   int // where the last search ended: ties go round
}

// The fixed dimensions come first; extended resources follow as they appear.
const (
	dimCPU    = iota // milli-cores
	dimMemory        // bytes
	dimDisk          // bytes of ephemeral storage
	dimPods
	fixedDims
)

type placement struct {
	node  int
	name  string
	class *Class
}

type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

// NewState returns an empty cluster.
func NewState() *State {
	s := &State{index: map[string]int{}, placed: map[types.UID]placement{}, classes: map[string]*Class{}}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourcePods} {
		s.dimension(name)
	}
	return s
}

// Clone returns an independent copy. Node objects and classes' pod templates are shared: nobody writes to them.
func (s *State) Clone() *State {
	c := *s
	c.names, c.nodes, c.dimensions = slices.Clone(s.names), slices.Clone(s.nodes), slices.Clone(s.dimensions)
	c.index, c.placed = maps.Clone(s.index), maps.Clone(s.placed)
	deep := func(columns [][]int64) [][]int64 {
		out := make([][]int64, len(columns))
		for i := range columns {
			out[i] = slices.Clone(columns[i])
		}
		return out
	}
	c.allocatable, c.used = deep(s.allocatable), deep(s.used)
	for i := range s.guessed {
		c.guessed[i] = slices.Clone(s.guessed[i])
	}
	c.ports = make([]map[hostPort]int, len(s.ports))
	for i := range s.ports {
		c.ports[i] = maps.Clone(s.ports[i])
	}
	c.classes = map[string]*Class{}
	for k, class := range s.classes {
		c.classes[k] = class.clone()
	}
	for uid, p := range c.placed {
		p.class = c.classes[p.class.key]
		c.placed[uid] = p
	}
	return &c
}

// dimension returns the column number of a resource, adding it if it is new.
func (s *State) dimension(name corev1.ResourceName) int {
	if i := slices.Index(s.dimensions, name); i >= 0 {
		return i
	}
	s.dimensions = append(s.dimensions, name)
	s.allocatable = append(s.allocatable, make([]int64, len(s.names)))
	s.used = append(s.used, make([]int64, len(s.names)))
	return len(s.dimensions) - 1
}

// column returns the node's column, making one if it has none. Pods may name a node before the node is known.
func (s *State) column(name string) int {
	if i, ok := s.index[name]; ok {
		return i
	}
	i := len(s.names)
	s.names = append(s.names, name)
	s.nodes = append(s.nodes, nil)
	s.ports = append(s.ports, map[hostPort]int{})
	for d := range s.dimensions {
		s.allocatable[d] = append(s.allocatable[d], 0)
		s.used[d] = append(s.used[d], 0)
	}
	for g := range s.guessed {
		s.guessed[g] = append(s.guessed[g], 0)
	}
	s.index[name] = i
	return i
}

// SetNode adds or changes a node. It reports whether the change could make a pod fit that did not fit before.
func (s *State) SetNode(node *corev1.Node) (better bool) {
	i := s.column(node.Name)
	before := s.nodes[i]
	if before == nil {
		s.present++
	}
	s.nodes[i] = node
	for d := range s.dimensions {
		s.allocatable[d][i] = 0
	}
	for name, q := range node.Status.Allocatable {
		d := s.dimension(name)
		if name == corev1.ResourceCPU {
			s.allocatable[d][i] = q.MilliValue()
		} else {
			s.allocatable[d][i] = q.Value()
		}
	}
	if before != nil && sameForScheduling(before, node) {
		return false
	}
	for _, class := range s.classes { // allocatable may have changed, so every class looks again
		class.refresh(s, i)
	}
	return true
}

// RemoveNode forgets a node. What its pods use stays accounted until they go too.
func (s *State) RemoveNode(name string) {
	i, ok := s.index[name]
	if !ok || s.nodes[i] == nil {
		return
	}
	s.nodes[i] = nil
	s.present--
	for _, class := range s.classes {
		class.refresh(s, i)
	}
}

// Place accounts a pod on a node. Placing it again on the same node changes nothing; on another, it moves.
func (s *State) Place(pod *corev1.Pod, node string) {
	i := s.column(node)
	if p, ok := s.placed[pod.UID]; ok {
		if p.node == i {
			return
		}
		s.Remove(pod.UID)
	}
	class := s.Class(pod)
	s.placed[pod.UID] = placement{node: i, name: pod.Namespace + "/" + pod.Name, class: class}
	s.account(class, i, 1)
}

// Remove takes a pod off its node. It reports whether the pod was on one.
func (s *State) Remove(uid types.UID) bool {
	p, ok := s.placed[uid]
	if !ok {
		return false
	}
	delete(s.placed, uid)
	s.account(p.class, p.node, -1)
	return true
}

// Placed says whether the pod is accounted on a node.
func (s *State) Placed(uid types.UID) bool {
	_, ok := s.placed[uid]
	return ok
}

func (s *State) account(class *Class, node int, sign int64) {
	class.pods += int(sign)
	for _, r := range class.requests {
		s.used[r.dim][node] += sign * r.amount
	}
	s.used[dimPods][node] += sign
	for g := range s.guessed {
		s.guessed[g][node] += sign * class.guess[g]
	}
	for _, p := range class.ports {
		if s.ports[node][p] += int(sign); s.ports[node][p] == 0 {
			delete(s.ports[node], p)
		}
	}
	for _, other := range s.classes {
		other.touch(node)
	}
}
