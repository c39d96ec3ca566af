package scheduler

import (
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// maxClasses bounds the classes kept; those without placed pods are dropped when there are more.
const maxClasses = 1024

// What a pod that asks for no CPU or memory is taken to use when nodes are scored, as upstream.
const (
	guessCPU    = 100
	guessMemory = 200 << 20
)

// Class is a set of pods that the rules cannot tell apart. What depends on the class and a node's own labels, taints and name is
// worked out once and kept; only what changes with every placement is looked at in a decision.
type Class struct {
	key  string
	spec classSpec
	pods int // placed now

	requests []request
	guess    [2]int64
	ports    []hostPort
	selector nodeaffinity.RequiredNodeAffinity
	prefer   *nodeaffinity.PreferredSchedulingTerms

	// Columns, one entry per node.
	refused []string             // the first static filter's reason, "" if all pass
	static  [staticCount][]int64 // raw static scores
	fits    []bool               // passes every filter, as of the last look
	dynamic []int64              // weighted sum of the dynamic scores, as of the last look
	stale   []int                // nodes to look at again, each once
	marked  []bool               // in stale
}

type request struct {
	dim    int
	amount int64
}

// classSpec is all of a pod that the filters and scores read.
type classSpec struct {
	NodeName     string                 `json:",omitempty"`
	NodeSelector map[string]string      `json:",omitempty"`
	Affinity     *corev1.NodeAffinity   `json:",omitempty"`
	Tolerations  []corev1.Toleration    `json:",omitempty"`
	Requests     corev1.ResourceList    `json:",omitempty"`
	Ports        []corev1.ContainerPort `json:",omitempty"`
}

// Class returns the pod's class, making it if it is new.
func (s *State) Class(pod *corev1.Pod) *Class {
	spec := specOf(pod)
	// It is made of API types, which always marshal.
	raw, _ := json.Marshal(spec)
	key := string(raw)
	if class, ok := s.classes[key]; ok {
		return class
	}
	if len(s.classes) >= maxClasses {
		maps.DeleteFunc(s.classes, func(_ string, c *Class) bool { return c.pods == 0 })
	}
	class := s.newClass(key, spec)
	s.classes[key] = class
	return class
}

func specOf(pod *corev1.Pod) classSpec {
	spec := classSpec{
		NodeSelector: pod.Spec.NodeSelector,
		Tolerations:  pod.Spec.Tolerations,
		Requests:     resource.PodRequests(pod, resource.PodResourcesOptions{}),
	}
	if pod.Spec.Affinity != nil {
		spec.Affinity = pod.Spec.Affinity.NodeAffinity
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				spec.Ports = append(spec.Ports, corev1.ContainerPort{HostPort: p.HostPort, HostIP: p.HostIP, Protocol: p.Protocol})
			}
		}
	}
	return spec
}

func (s *State) newClass(key string, spec classSpec) *Class {
	pod := &corev1.Pod{Spec: corev1.PodSpec{NodeSelector: spec.NodeSelector}}
	if spec.Affinity != nil {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: spec.Affinity}
	}
	class := &Class{key: key, spec: spec, selector: nodeaffinity.GetRequiredNodeAffinity(pod), guess: [2]int64{guessCPU, guessMemory}}
	if spec.Affinity != nil && len(spec.Affinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		// A term that does not parse prefers nothing; validation has refused it before.
		class.prefer, _ = nodeaffinity.NewPreferredSchedulingTerms(spec.Affinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Requests)) {
		q := spec.Requests[name]
		amount := q.Value()
		if name == corev1.ResourceCPU {
			amount = q.MilliValue()
		}
		if amount == 0 {
			continue
		}
		class.requests = append(class.requests, request{s.dimension(name), amount})
		switch name {
		case corev1.ResourceCPU:
			class.guess[dimCPU] = amount
		case corev1.ResourceMemory:
			class.guess[dimMemory] = amount
		}
	}
	for _, p := range spec.Ports {
		ip := p.HostIP
		if ip == "" || ip == "::" {
			ip = "0.0.0.0"
		}
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		class.ports = append(class.ports, hostPort{ip, protocol, p.HostPort})
	}
	for i := range s.names {
		class.refresh(s, i)
	}
	return class
}

// refresh works out again what the class and one node's own properties say.
func (c *Class) refresh(s *State, i int) {
	for len(c.refused) <= i {
		c.refused = append(c.refused, "")
		for k := range c.static {
			c.static[k] = append(c.static[k], 0)
		}
		c.fits, c.dynamic, c.marked = append(c.fits, false), append(c.dynamic, 0), append(c.marked, false)
	}
	c.touch(i)
	node := s.nodes[i]
	if node == nil {
		c.refused[i] = absent
		return
	}
	c.refused[i] = ""
	for _, f := range staticFilters {
		if reason := f.check(c, node); reason != "" {
			c.refused[i] = reason
			break
		}
	}
	for k := range staticScores {
		c.static[k][i] = staticScores[k].raw(c, node)
	}
}

// touch notes that what is placed on a node has changed.
func (c *Class) touch(i int) {
	if i < len(c.marked) && !c.marked[i] {
		c.marked[i] = true
		c.stale = append(c.stale, i)
	}
}

// look brings the columns up to date: only nodes that changed since the last decision for this class are looked at.
func (c *Class) look(s *State) {
	for i := len(c.refused); i < len(s.names); i++ {
		c.refresh(s, i)
	}
	for _, i := range c.stale {
		c.marked[i] = false
		c.fits[i] = c.refused[i] == "" && s.passes(c, i, nil)
		if !c.fits[i] {
			continue
		}
		c.dynamic[i] = 0
		for k := range dynamicScores {
			c.dynamic[i] += dynamicScores[k].weight * dynamicScores[k].score(s, c, i)
		}
	}
	c.stale = c.stale[:0]
}

func (c *Class) clone() *Class {
	out := *c
	out.refused, out.fits, out.dynamic = slices.Clone(c.refused), slices.Clone(c.fits), slices.Clone(c.dynamic)
	out.stale, out.marked = slices.Clone(c.stale), slices.Clone(c.marked)
	for k := range out.static {
		out.static[k] = slices.Clone(c.static[k])
	}
	return &out
}

// sameForScheduling says whether two versions of a node look the same to every filter and score. Heartbeats do.
func sameForScheduling(a, b *corev1.Node) bool {
	return a.Spec.Unschedulable == b.Spec.Unschedulable && maps.Equal(a.Labels, b.Labels) &&
		equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) && equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable)
}
