package scheduler

import (
	"encoding/binary"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// What a pod that asks for no CPU or memory is taken to use when nodes are scored, as upstream.
const (
	guessCPU    = 100
	guessMemory = 200 << 20
)

// Class is a set of pods that the rules cannot tell apart. It lives as long as a pod of it is placed or waits, or its columns are worth
// keeping.
type Class struct {
	key   string
	spec  classSpec
	users int // pods of it that are placed or wait

	requests []request
	guess    [2]int64
	selects  bool // it asks for certain nodes
	selector nodeaffinity.RequiredNodeAffinity
	prefer   *nodeaffinity.PreferredSchedulingTerms
	only     []string // the names of the only nodes that it asks for; nil: it does not name them

	asked   int      // decisions so far
	columns *columns // what is known of each node; nil: nothing is kept
	refused refused  // the last decision, if no node did
}

type request struct {
	dim    int
	amount int64
}

// classSpec is all of a pod that the rules read.
type classSpec struct {
	selector    map[string]string
	affinity    *corev1.NodeAffinity
	tolerations []corev1.Toleration
	requests    []named // by name, without zeros
	ports       []hostPort
}

type named struct {
	resource corev1.ResourceName
	amount   int64 // milli-cores of CPU, whole units of everything else
}

// Class returns the pod's class, making it if it is new.
func (s *State) Class(pod *corev1.Pod) *Class {
	spec := specOf(pod)
	s.scratch = spec.appendKey(s.scratch[:0])
	if class, ok := s.classes[string(s.scratch)]; ok {
		return class
	}
	class := s.newClass(string(s.scratch), spec)
	s.classes[class.key] = class
	return class
}

// leave says that one pod less is placed or waits. A class without pods stays while it has columns, for the next pod like these.
func (s *State) leave(c *Class) {
	if c.users--; c.users == 0 && c.columns == nil {
		delete(s.classes, c.key)
	}
}

func specOf(pod *corev1.Pod) classSpec {
	spec := classSpec{selector: pod.Spec.NodeSelector, tolerations: pod.Spec.Tolerations}
	if pod.Spec.Affinity != nil {
		spec.affinity = pod.Spec.Affinity.NodeAffinity
	}
	for name, q := range resource.PodRequests(pod, resource.PodResourcesOptions{}) {
		if amount := amountOf(name, q); amount != 0 {
			spec.requests = append(spec.requests, named{name, amount})
		}
	}
	slices.SortFunc(spec.requests, func(a, b named) int {
		if a.resource < b.resource {
			return -1
		}
		return 1
	})
	for i := range pod.Spec.Containers {
		spec.addPorts(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		// One that is restarted runs beside the others; any other has ended when they start.
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			spec.addPorts(c)
		}
	}
	return spec
}

// anyIP is how a port of all addresses is kept.
const anyIP = "0.0.0.0"

func (spec *classSpec) addPorts(c *corev1.Container) {
	for _, p := range c.Ports {
		if p.HostPort <= 0 {
			continue
		}
		port := hostPort{p.HostIP, p.Protocol, p.HostPort}
		if port.ip == "" || port.ip == "::" {
			port.ip = anyIP
		}
		if port.protocol == "" {
			port.protocol = corev1.ProtocolTCP
		}
		spec.ports = append(spec.ports, port)
	}
}

// appendKey writes the specification so that two are the same if and only if their keys are.
func (spec *classSpec) appendKey(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(spec.requests)))
	for _, r := range spec.requests {
		b = binary.AppendVarint(appendText(b, string(r.resource)), r.amount)
	}
	b = binary.AppendUvarint(b, uint64(len(spec.tolerations)))
	for i := range spec.tolerations {
		t := &spec.tolerations[i]
		b = appendText(appendText(appendText(appendText(b, t.Key), string(t.Operator)), t.Value), string(t.Effect))
	}
	b = binary.AppendUvarint(b, uint64(len(spec.ports)))
	for _, p := range spec.ports {
		b = binary.AppendVarint(appendText(appendText(b, p.ip), string(p.protocol)), int64(p.port))
	}
	b = binary.AppendUvarint(b, uint64(len(spec.selector)))
	for _, key := range slices.Sorted(maps.Keys(spec.selector)) {
		b = appendText(appendText(b, key), spec.selector[key])
	}
	if spec.affinity != nil {
		// It is made of strings and lists of them, which always marshal.
		raw, _ := spec.affinity.Marshal()
		b = append(b, raw...)
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func (s *State) newClass(key string, spec classSpec) *Class {
	pod := &corev1.Pod{Spec: corev1.PodSpec{NodeSelector: spec.selector}}
	if spec.affinity != nil {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: spec.affinity}
	}
	class := &Class{key: key, spec: spec, selector: nodeaffinity.GetRequiredNodeAffinity(pod), guess: [2]int64{guessCPU, guessMemory}}
	class.selects = len(spec.selector) > 0 || spec.affinity != nil && spec.affinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
	if spec.affinity != nil {
		class.only = onlyNodes(spec.affinity.RequiredDuringSchedulingIgnoredDuringExecution)
		if preferred := spec.affinity.PreferredDuringSchedulingIgnoredDuringExecution; len(preferred) > 0 {
			// A term that does not parse prefers nothing; validation has refused it before.
			class.prefer, _ = nodeaffinity.NewPreferredSchedulingTerms(preferred)
		}
	}
	for _, r := range spec.requests {
		class.requests = append(class.requests, request{s.dimension(r.resource), r.amount})
		switch r.resource {
		case corev1.ResourceCPU:
			class.guess[dimCPU] = r.amount
		case corev1.ResourceMemory:
			class.guess[dimMemory] = r.amount
		}
	}
	return class
}

// onlyNodes returns the names of the nodes that a selector can match at all, or nil if one of its terms does not name any. Pods of a
// DaemonSet name theirs.
func onlyNodes(required *corev1.NodeSelector) []string {
	if required == nil {
		return nil
	}
	var out []string
	for _, term := range required.NodeSelectorTerms {
		var names []string
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && field.Operator == corev1.NodeSelectorOpIn {
				names = field.Values
			}
		}
		if names == nil {
			return nil
		}
		out = append(out, names...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c *Class) clone() *Class {
	out := *c
	out.columns = c.columns.clone()
	return &out
}

// sameForScheduling says whether two versions of a node look the same to every rule. Heartbeats do.
func sameForScheduling(a, b *corev1.Node) bool {
	return a.Spec.Unschedulable == b.Spec.Unschedulable && maps.Equal(a.Labels, b.Labels) &&
		equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) && equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable)
}
