package podworker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/internal/testkit"
	"github.com/cuppa-project/cuppa/kubelet/criconfig"
	"github.com/cuppa-project/cuppa/kubelet/observe"
)

func clock() time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC) }

// scene builds an Input.
type scene struct {
	in Input
}

func newScene() *scene {
	grace := int64(30)
	return &scene{Input{
		Now: clock(),
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"},
			Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &grace, RestartPolicy: corev1.RestartPolicyAlways,
				Containers: []corev1.Container{{Name: "a", Image: "i"}}},
		},
		Probes: map[string]Probe{},
		Memory: Memory{Mounted: true, Start: map[string]Retry{}, Crash: map[string]Backoff{}, Stopped: map[string]bool{}, Running: map[string]Operation{}},
	}}
}

func (s *scene) do(f func(in *Input)) *scene {
	f(&s.in)
	return s
}

func (s *scene) policy(p corev1.RestartPolicy) *scene {
	return s.do(func(in *Input) { in.Pod.Spec.RestartPolicy = p })
}

func (s *scene) main(names ...string) *scene {
	return s.do(func(in *Input) {
		in.Pod.Spec.Containers = nil
		for _, name := range names {
			in.Pod.Spec.Containers = append(in.Pod.Spec.Containers, corev1.Container{Name: name, Image: "i"})
		}
	})
}

func (s *scene) init(names ...string) *scene {
	return s.do(func(in *Input) {
		for _, name := range names {
			in.Pod.Spec.InitContainers = append(in.Pod.Spec.InitContainers, corev1.Container{Name: name, Image: "i"})
		}
	})
}

func (s *scene) sidecar(name string) *scene {
	return s.do(func(in *Input) {
		always := corev1.ContainerRestartPolicyAlways
		in.Pod.Spec.InitContainers = append(in.Pod.Spec.InitContainers, corev1.Container{Name: name, Image: "i", RestartPolicy: &always})
	})
}

func (s *scene) sandbox(attempt uint32, ready bool) *scene {
	return s.do(func(in *Input) {
		in.Observed.Sandboxes = slices.Insert(in.Observed.Sandboxes, 0, observe.Sandbox{ID: fmt.Sprintf("s%d", attempt), Attempt: attempt, Ready: ready})
	})
}

// has adds a container; code matters for exited ones only.
func (s *scene) has(name string, attempt uint32, state observe.State, code int32) *scene {
	return s.do(func(in *Input) {
		c := observe.Container{ID: fmt.Sprintf("%s%d", name, attempt), Name: name, Attempt: attempt, State: state, ExitCode: code, SandboxID: "s0",
			StartedAt: clock().Add(-time.Minute)}
		if state == observe.Exited {
			c.FinishedAt = clock().Add(-time.Second)
		}
		i := slices.IndexFunc(in.Observed.Containers, func(o observe.Container) bool { return o.Name == name })
		if i < 0 {
			i = len(in.Observed.Containers)
		}
		in.Observed.Containers = slices.Insert(in.Observed.Containers, i, c)
		in.Probes[c.ID] = Probe{Started: true, Ready: true}
	})
}

// sized gives container a a request of cpu and a limit of memory; its control group has another limit.
func (s *scene) sized(cpu, has, wants string) *scene {
	return s.do(func(in *Input) {
		limits := func(memory string) corev1.ResourceRequirements {
			return corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)},
			}
		}
		in.Pod.Spec.Containers[0].Resources = limits(wants)
		in.Observed.Containers[0].Cgroup = criconfig.Cgroup(limits(has), false)
		had := limits(has)
		in.Pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", Resources: &had, AllocatedResources: had.Requests}}
	})
}

func (s *scene) restartsFor(name corev1.ResourceName) *scene {
	return s.do(func(in *Input) {
		in.Pod.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: name, RestartPolicy: corev1.RestartContainer}}
	})
}

func (s *scene) deleted() *scene {
	return s.do(func(in *Input) {
		stamp, grace := metav1.NewTime(clock()), int64(30)
		in.Pod.DeletionTimestamp, in.Pod.DeletionGracePeriodSeconds = &stamp, &grace
	})
}

func (s *scene) underWay(a Action) *scene {
	return s.do(func(in *Input) { in.Memory.Running[a.Key()] = Operation{Action: a, Began: clock().Add(-time.Second)} })
}

// cases is every situation worth a look, in the order of a pod's life.
func cases() []struct {
	name string
	*scene
} {
	start := Action{Verb: StartContainer, Name: "a"}
	return []struct {
		name string
		*scene
	}{
		{"a new pod: volumes and sandbox side by side", newScene().do(func(in *Input) { in.Memory.Mounted = false })},
		{"volumes failed a moment ago: the sandbox does not wait", newScene().do(func(in *Input) {
			in.Memory.Mounted = false
			in.Memory.Mount = Retry{Reason: "FailedMount", Until: clock().Add(4 * time.Second)}
		})},
		{"volumes are there: a sandbox", newScene()},
		{"a sandbox, but no volumes yet: wait", newScene().sandbox(0, true).underWay(Action{Verb: MountVolumes}).do(func(in *Input) { in.Memory.Mounted = false })},
		{"the sandbox is being made: nothing", newScene().underWay(Action{Verb: CreateSandbox})},
		{"a sandbox: start", newScene().sandbox(0, true)},
		{"two containers: one after the other", newScene().main("a", "b").sandbox(0, true)},
		{"the first is being started: the second waits", newScene().main("a", "b").sandbox(0, true).underWay(start)},
		{"init containers: the first", newScene().init("i1", "i2").sandbox(0, true)},
		{"init containers: the first runs", newScene().init("i1", "i2").sandbox(0, true).has("i1", 0, observe.Running, 0)},
		{"init containers: the second", newScene().init("i1", "i2").sandbox(0, true).has("i1", 0, observe.Exited, 0)},
		{"init containers: all done", newScene().init("i1").sandbox(0, true).has("i1", 0, observe.Exited, 0)},
		{"init container failed: again", newScene().init("i1").sandbox(0, true).has("i1", 0, observe.Exited, 1)},
		{"init container failed, policy Never: the pod has failed", newScene().policy(corev1.RestartPolicyNever).init("i1").sandbox(0, true).has("i1", 0, observe.Exited, 1)},
		{"a sidecar that has not started yet holds back the rest", newScene().sidecar("s").sandbox(0, true).has("s", 0, observe.Running, 0).do(func(in *Input) { in.Probes["s0"] = Probe{} })},
		{"a sidecar that has started", newScene().sidecar("s").sandbox(0, true).has("s", 0, observe.Running, 0)},
		{"a sidecar that ended is started again beside the others", newScene().sidecar("s").sandbox(0, true).has("s", 0, observe.Exited, 0).has("a", 0, observe.Running, 0)},
		{"everything runs: nothing", newScene().sandbox(0, true).has("a", 0, observe.Running, 0)},
		{"left over from a start that was cut short: remove", newScene().sandbox(0, true).has("a", 0, observe.Created, 0)},
		{"crashed for the first time: at once", newScene().sandbox(0, true).has("a", 0, observe.Exited, 1)},
		{"crashed again: wait", newScene().sandbox(0, true).has("a", 1, observe.Exited, 1).do(func(in *Input) {
			in.Memory.Crash["a"] = Backoff{Delay: 10 * time.Second, Since: clock().Add(-5 * time.Second)}
		})},
		{"crashed after a long good run: at once", newScene().sandbox(0, true).has("a", 1, observe.Exited, 1).do(func(in *Input) {
			in.Memory.Crash["a"] = Backoff{Delay: 5 * time.Minute, Since: clock().Add(-11 * time.Minute)}
		})},
		{"ended well, policy OnFailure: done", newScene().policy(corev1.RestartPolicyOnFailure).sandbox(0, true).has("a", 0, observe.Exited, 0)},
		{"one of two ended well, policy OnFailure: go on", newScene().policy(corev1.RestartPolicyOnFailure).main("a", "b").sandbox(0, true).has("a", 0, observe.Exited, 0).has("b", 0, observe.Running, 0)},
		{"liveness failed: stop", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).do(func(in *Input) {
			grace := int64(5)
			in.Probes["a0"] = Probe{Started: true, Failing: "Container a failed liveness probe, will be restarted", Grace: &grace}
		})},
		{"the image changed: stop", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).do(func(in *Input) { in.Observed.Containers[0].Hash = "old" })},
		{"the image cannot be pulled: wait", newScene().sandbox(0, true).do(func(in *Input) {
			in.Memory.Start["a"] = Retry{Reason: ReasonErrImagePull, Since: clock().Add(-5 * time.Second), Until: clock().Add(5 * time.Second)}
		})},
		{"the sandbox broke: stop what runs", newScene().sandbox(0, false).has("a", 0, observe.Running, 0)},
		{"the sandbox broke: take it down", newScene().sandbox(0, false).has("a", 0, observe.Exited, 137)},
		{"the sandbox was taken down: another", newScene().sandbox(0, false).has("a", 0, observe.Exited, 137).do(func(in *Input) { in.Memory.Stopped["s0"] = true })},
		{"another sandbox: init containers once more", newScene().init("i1").sandbox(0, false).sandbox(1, true).has("i1", 0, observe.Exited, 0).has("a", 0, observe.Exited, 137)},
		{"old records: one dead beside the newest is kept", newScene().sandbox(0, true).has("a", 0, observe.Exited, 1).has("a", 1, observe.Exited, 1).has("a", 2, observe.Exited, 1).has("a", 3, observe.Running, 0)},
		{"the deadline is near", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).do(func(in *Input) {
			limit, begun := int64(60), metav1.NewTime(clock().Add(-50*time.Second))
			in.Pod.Spec.ActiveDeadlineSeconds, in.Pod.Status.StartTime = &limit, &begun
		})},
		{"the deadline is over", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).do(func(in *Input) {
			limit, begun := int64(60), metav1.NewTime(clock().Add(-61*time.Second))
			in.Pod.Spec.ActiveDeadlineSeconds, in.Pod.Status.StartTime = &limit, &begun
		})},
		{"rejected", newScene().do(func(in *Input) { in.Memory.Rejected = &Outcome{Phase: corev1.PodFailed, Reason: "NodePorts"} })},
		{"deleted: stop", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).deleted()},
		{"deleted: sidecars wait for the others", newScene().sidecar("s").sandbox(0, true).has("s", 0, observe.Running, 0).has("a", 0, observe.Running, 0).deleted()},
		{"deleted: then sidecars", newScene().sidecar("s").sidecar("t").sandbox(0, true).has("s", 0, observe.Running, 0).has("t", 0, observe.Running, 0).has("a", 0, observe.Exited, 0).deleted()},
		{"deleted: the grace is over for sidecars too", newScene().sidecar("s").sandbox(0, true).has("s", 0, observe.Running, 0).has("a", 0, observe.Running, 0).deleted().do(func(in *Input) { in.Memory.EndBegan = clock().Add(-time.Minute) })},
		{"deleted while being started: give up the start", newScene().sandbox(0, true).underWay(start).deleted()},
		{"deleted while volumes are being mounted: give that up", newScene().do(func(in *Input) { in.Memory.Mounted = false }).underWay(Action{Verb: MountVolumes}).deleted()},
		{"deleted with a stop under way: nothing", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).deleted().underWay(Action{Verb: StopContainer, Name: "a", ID: "a0", Grace: 30 * time.Second})},
		{"deleted again with less grace: stop sooner", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).deleted().underWay(Action{Verb: StopContainer, Name: "a", ID: "a0", Grace: 90 * time.Second})},
		{"deleted: the sandbox", newScene().sandbox(0, true).has("a", 0, observe.Exited, 0).deleted()},
		{"deleted: volumes", newScene().sandbox(0, false).has("a", 0, observe.Exited, 0).deleted().do(func(in *Input) { in.Memory.Stopped["s0"] = true })},
		{"deleted: report", newScene().sandbox(0, false).has("a", 0, observe.Exited, 0).deleted().do(func(in *Input) { in.Memory.Stopped["s0"], in.Memory.Unmounted = true, true })},
		{"deleted: forget", newScene().sandbox(0, false).has("a", 0, observe.Exited, 0).deleted().do(func(in *Input) {
			in.Memory.Stopped["s0"], in.Memory.Unmounted, in.Memory.Reported = true, true, true
		})},
		{"deleted: remove the sandbox with its containers", newScene().sandbox(0, false).has("a", 0, observe.Exited, 0).deleted().do(func(in *Input) {
			in.Memory.Stopped["s0"], in.Memory.Unmounted, in.Memory.Reported, in.Memory.Forgotten = true, true, true, true
		})},
		{"deleted: remove containers that have no sandbox", newScene().has("a", 0, observe.Exited, 0).deleted().do(func(in *Input) {
			in.Memory.Stopped["s0"], in.Memory.Unmounted, in.Memory.Reported, in.Memory.Forgotten = true, true, true, true
		})},
		{"deleted: directories", newScene().deleted().do(func(in *Input) { in.Memory.Unmounted, in.Memory.Reported, in.Memory.Forgotten = true, true, true })},
		{"deleted: over", newScene().deleted().do(func(in *Input) {
			in.Memory.Unmounted, in.Memory.Reported, in.Memory.Forgotten, in.Memory.Cleaned = true, true, true, true
		})},
		{"more memory than it has: resize", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).sized("100m", "64Mi", "128Mi")},
		{"the memory that it has: nothing", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).sized("100m", "64Mi", "64Mi")},
		{"more memory, which wants a restart: stop", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).sized("100m", "64Mi", "128Mi").restartsFor(corev1.ResourceMemory)},
		{"more memory, and the stop is under way: nothing", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).sized("100m", "64Mi", "128Mi").restartsFor(corev1.ResourceMemory).underWay(Action{Verb: StopContainer, ID: "a0"})},
		{"more memory, and a restart only for cpu: resize", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).sized("100m", "64Mi", "128Mi").restartsFor(corev1.ResourceCPU)},
		{"more memory than the node has: nothing", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).sized("100m", "64Mi", "128Mi").do(func(in *Input) {
			in.Memory.Room = Room{Reason: corev1.PodReasonDeferred}
		})},
		{"resized, and the runtime has not said so yet: nothing", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).sized("100m", "64Mi", "128Mi").do(func(in *Input) {
			in.Memory.Resized = map[string]observe.Cgroup{"a0": {Shares: 102, Memory: 128 << 20}}
		})},
		{"a resize failed a moment ago: wait", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).sized("100m", "64Mi", "128Mi").do(func(in *Input) {
			in.Memory.Resize = Retry{Reason: corev1.PodReasonError, Until: clock().Add(4 * time.Second)}
		})},
		{"unknown to the API: a short grace", newScene().sandbox(0, true).has("a", 0, observe.Running, 0).do(func(in *Input) { in.Removed = true })},
	}
}

func TestPlans(t *testing.T) {
	var b strings.Builder
	for _, c := range cases() {
		plan := Decide(c.in)
		fmt.Fprintf(&b, "# %s\n%s", c.name, plan.String())
		if !plan.Wake.IsZero() {
			fmt.Fprintf(&b, "  wake in %s\n", plan.Wake.Sub(clock()))
		}
		b.WriteByte('\n')
	}
	testkit.Golden(t, "plans.txt", b.String())
}

// TestPlansAreStable checks that deciding twice on the same input, with everything that was decided under way, asks for nothing more.
func TestPlansAreStable(t *testing.T) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			in := c.in
			for _, a := range Decide(in).Actions {
				in.Memory.Running[a.Key()] = Operation{Action: a, Began: in.Now}
			}
			for _, a := range Decide(in).Actions {
				if a.Verb != CancelStart {
					t.Errorf("asked for a second time: %s", a)
				}
			}
		})
	}
}

// TestWakesAreInTheFuture: a wake-up in the past would spin.
func TestWakesAreInTheFuture(t *testing.T) {
	for _, c := range cases() {
		if plan := Decide(c.in); !plan.Wake.IsZero() && !plan.Wake.After(c.in.Now) {
			t.Errorf("%s: wake at %s, now is %s", c.name, plan.Wake, c.in.Now)
		}
	}
}
