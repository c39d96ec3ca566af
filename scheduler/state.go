package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// State is everything a decision depends on: the nodes as columns, what their pods use, and the classes of pods seen so far.
// One goroutine owns it. Decide is a function of a State and a class; Clone serves tests and what-ifs.
type State struct {
	names []string // column heads
	index map[string]int
	free  []int          // columns that nobody uses any more
	nodes []*corev1.Node // nil: no such node (any more)

	allocatable [][]int64 // by dimension, then node
	used        [][]int64
	guessed     [2][]int64 // cpu and memory with a guess for pods that ask for none; scores use it
	dimensions  []corev1.ResourceName
	ports       []map[hostPort]int

	journal journal
	placed  map[types.UID]placement
	classes map[string]*Class
	warm    []*Class // those with columns
	ticks   uint64   // looks so far
	present int      // nodes that exist
	levels  int      // different sums that scores can have
	start   int      // where the next search begins: ties go round
	scratch []byte
	order   []int32
}

// The fixed dimensions come first; extended resources follow as they appear.
const (
	dimCPU    = iota // milli-cores
	dimMemory        // bytes
	dimDisk          // bytes of ephemeral storage
	dimPods
)

type placement struct {
	node  int
	class *Class
}

type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

// NewState returns an empty cluster.
func NewState() *State {
	s := &State{index: map[string]int{}, placed: map[types.UID]placement{}, classes: map[string]*Class{}, levels: levels()}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourcePods} {
		s.dimension(name)
	}
	return s
}

// Clone returns an independent copy. Node objects and classes' specifications are shared: nobody writes to them.
func (s *State) Clone() *State {
	c := *s
	c.names, c.nodes, c.free, c.dimensions = slices.Clone(s.names), slices.Clone(s.nodes), slices.Clone(s.free), slices.Clone(s.dimensions)
	c.index, c.placed, c.journal = maps.Clone(s.index), maps.Clone(s.placed), s.journal.clone()
	c.allocatable, c.used = cloneAll(s.allocatable), cloneAll(s.used)
	for i := range s.guessed {
		c.guessed[i] = slices.Clone(s.guessed[i])
	}
	c.ports = make([]map[hostPort]int, len(s.ports))
	for i := range s.ports {
		c.ports[i] = maps.Clone(s.ports[i])
	}
	c.classes, c.warm, c.scratch, c.order = map[string]*Class{}, nil, nil, nil
	for k, class := range s.classes {
		c.classes[k] = class.clone()
	}
	for _, class := range s.warm {
		c.warm = append(c.warm, c.classes[class.key])
	}
	for uid, p := range c.placed {
		p.class = c.classes[p.class.key]
		c.placed[uid] = p
	}
	return &c
}

func cloneAll(columns [][]int64) [][]int64 {
	out := make([][]int64, len(columns))
	for i := range columns {
		out[i] = slices.Clone(columns[i])
	}
	return out
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

// amountOf is a quantity in the unit in which its resource is counted.
func amountOf(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// column returns the node's column, making one if it has none. Pods may name a node before the node is known.
func (s *State) column(name string) int {
	if i, ok := s.index[name]; ok {
		return i
	}
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		s.names[i], s.index[name] = name, i
		return i
	}
	i := len(s.names)
	s.names = append(s.names, name)
	s.nodes = append(s.nodes, nil)
	s.ports = append(s.ports, nil)
	s.journal.grow()
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

// giveBack frees the column of a node that is gone, once nothing is placed there any more.
func (s *State) giveBack(i int) {
	if s.nodes[i] != nil || s.used[dimPods][i] != 0 {
		return
	}
	delete(s.index, s.names[i])
	s.names[i] = ""
	s.free = append(s.free, i)
}

// SetNode adds or changes a node. It returns the node's column, and whether anything changed that a rule sees.
func (s *State) SetNode(node *corev1.Node) (column int, changed bool) {
	i := s.column(node.Name)
	before := s.nodes[i]
	s.nodes[i] = node
	if before != nil && sameForScheduling(before, node) {
		return i, false
	}
	if before == nil {
		s.present++
	}
	for name := range node.Status.Allocatable {
		s.dimension(name)
	}
	for d, name := range s.dimensions {
		s.allocatable[d][i] = 0
		if q, ok := node.Status.Allocatable[name]; ok {
			s.allocatable[d][i] = amountOf(name, q)
		}
	}
	s.journal.add(i, true)
	return i, true
}

// RemoveNode forgets a node. What its pods use stays accounted until they go too.
func (s *State) RemoveNode(name string) {
	i, ok := s.index[name]
	if !ok || s.nodes[i] == nil {
		return
	}
	s.nodes[i] = nil
	s.present--
	s.journal.add(i, true)
	s.giveBack(i)
}

// Place accounts a pod on a node. Placing it again on the same node changes nothing unless the pod has; on another, it moves.
func (s *State) Place(pod *corev1.Pod, node string) { s.place(pod.UID, s.Class(pod), node) }

func (s *State) place(uid types.UID, class *Class, node string) {
	i := s.column(node)
	before, moved := s.placed[uid]
	if moved && before.node == i && before.class == class {
		return
	}
	s.placed[uid] = placement{node: i, class: class}
	class.users++
	s.account(class, i, 1)
	if moved {
		s.account(before.class, before.node, -1)
		s.leave(before.class)
		s.giveBack(before.node)
	}
}

// Remove takes a pod off its node. It returns the node's column, or -1 if the pod was on none.
func (s *State) Remove(uid types.UID) (column int) {
	p, ok := s.placed[uid]
	if !ok {
		return -1
	}
	delete(s.placed, uid)
	s.account(p.class, p.node, -1)
	s.leave(p.class)
	s.giveBack(p.node)
	return p.node
}

// Placed says whether the pod is accounted on a node.
func (s *State) Placed(uid types.UID) bool {
	_, ok := s.placed[uid]
	return ok
}

func (s *State) account(class *Class, node int, sign int64) {
	for _, r := range class.requests {
		s.used[r.dim][node] += sign * r.amount
	}
	s.used[dimPods][node] += sign
	for g := range s.guessed {
		s.guessed[g][node] += sign * class.guess[g]
	}
	for _, p := range class.spec.ports {
		if s.ports[node] == nil {
			s.ports[node] = map[hostPort]int{}
		}
		if s.ports[node][p] += int(sign); s.ports[node][p] == 0 {
			delete(s.ports[node], p)
		}
	}
	s.journal.add(node, false)
}
