package scheduler

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestTranscripts replays the scripts of testdata: a line that begins with "> " is told to a core, and below it stands what the core does.
//
//	> node NAME [cpu=4] [memory=4Gi] [pods=10] [LABEL=VALUE] [taint=KEY:EFFECT] [cordoned]
//	> lose NAME                     the node goes
//	> pod NAME [cpu=1] [memory=1Gi] [port=80] [sidecar-port=80] [on=NODE] [only=NODE] [select=KEY:VALUE] [prefer=KEY:VALUE:WEIGHT] [priority=5] [tolerates] [gated]
//	> bound NAME NODE               the watch says so
//	> delete NAME | finish NAME     a pod
//	> refuse NAME                   the API does not take its binding
//	> wait DURATION
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := player{c: newCore(corev1.DefaultSchedulerName), now: start, nodes: map[string]*corev1.Node{}, pods: map[string]*corev1.Pod{}, done: map[string]*item{}}
			var out strings.Builder
			for line := range strings.Lines(string(raw)) {
				command, ok := strings.CutPrefix(line, "> ")
				switch {
				case ok:
					out.WriteString(line)
					if err := p.do(strings.Fields(command)); err != nil {
						t.Fatalf("%s: %v", strings.TrimSpace(line), err)
					}
					out.WriteString(p.settle())
				case strings.HasPrefix(line, "#") || line == "\n":
					out.WriteString(line)
				}
			}
			testkit.Golden(t, filepath.Base(file), out.String())
		})
	}
}

// player tells a core what a script says, and answers its bindings as the API does.
type player struct {
	c     *core
	now   time.Time
	nodes map[string]*corev1.Node
	pods  map[string]*corev1.Pod
	done  map[string]*item // the last binding of each pod
}

func (p *player) do(words []string) error {
	verb, words := words[0], words[1:]
	switch verb {
	case "node":
		return p.node(words)
	case "lose":
		p.c.node(p.nodes[words[0]], nil)
		delete(p.nodes, words[0])
		return nil
	case "wait":
		d, err := time.ParseDuration(words[0])
		p.now = p.now.Add(d)
		return err
	case "pod":
		return p.pod(words)
	}
	old := p.pods[words[0]]
	if old == nil {
		return fmt.Errorf("no pod %q", words[0])
	}
	switch verb {
	case "bound":
		p.change(old, func(x *corev1.Pod) { x.Spec.NodeName = words[1] })
	case "finish":
		p.change(old, func(x *corev1.Pod) { x.Status.Phase = corev1.PodSucceeded })
	case "delete":
		delete(p.pods, old.Name)
		p.c.pod(old, nil, p.now)
	case "refuse":
		p.c.failed(p.done[old.Name], old, p.now)
	default:
		return fmt.Errorf("unknown command %q", verb)
	}
	return nil
}

func (p *player) change(old *corev1.Pod, change func(*corev1.Pod)) {
	x := old.DeepCopy()
	change(x)
	p.pods[x.Name] = x
	p.c.pod(old, x, p.now)
}

// settle prints what the core does, and when it wants to be asked again.
func (p *player) settle() string {
	var out strings.Builder
	for {
		do, ok, wait := p.c.next(p.now)
		if !ok {
			if !wait.IsZero() {
				fmt.Fprintf(&out, "(asks again after %s)\n", wait.Sub(p.now))
			}
			return out.String()
		}
		fmt.Fprintln(&out, do)
		if do.Node != "" {
			p.done[do.pod.Name] = do.item
		}
	}
}

func (p *player) node(words []string) error {
	n := node(words[0], "4", "4Gi")
	n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("10")
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "cpu", "memory", "pods":
			n.Status.Allocatable[corev1.ResourceName(key)] = resource.MustParse(value)
		case "cordoned":
			n.Spec.Unschedulable = true
		case "taint":
			key, effect, _ := strings.Cut(value, ":")
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: "v", Effect: corev1.TaintEffect(effect)})
		default:
			n.Labels[key] = value
		}
	}
	p.c.node(p.nodes[n.Name], n)
	p.nodes[n.Name] = n
	return nil
}

func (p *player) pod(words []string) error {
	x := pod(words[0])
	cpu, memory := "0", "0"
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		parts := strings.Split(value, ":")
		number, err := strconv.ParseInt(parts[len(parts)-1], 10, 32)
		switch key {
		case "port", "sidecar-port", "prefer", "priority":
			if err != nil {
				return fmt.Errorf("%s: %w", word, err)
			}
		}
		switch key {
		case "cpu":
			cpu = value
		case "memory":
			memory = value
		case "port":
			port(int32(number), "")(x)
		case "sidecar-port":
			sidecar(int32(number), true, "0")(x)
		case "on":
			x.Spec.NodeName = value
		case "only":
			pinned(value)(x)
		case "select":
			selects(parts[0], parts[1])(x)
		case "prefer":
			prefers(int32(number), parts[0], parts[1])(x)
		case "priority":
			important(int32(number))(x)
		case "tolerates":
			x.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		case "gated":
			x.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "gate"}}
		default:
			return fmt.Errorf("unknown word %q", word)
		}
	}
	asks(cpu, memory)(x)
	old := p.pods[x.Name]
	if old != nil {
		x.Generation = old.Generation + 1
	}
	x.UID = types.UID(x.Name)
	p.pods[x.Name] = x
	p.c.pod(old, x, p.now)
	return nil
}
