package podworker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kubelet/kubelettest"
	"github.com/cuppa-project/cuppa/kubelet/podworker"
)

func always() *corev1.ContainerRestartPolicy {
	p := corev1.ContainerRestartPolicyAlways
	return &p
}

func status(pod *corev1.Pod, name string) corev1.ContainerStatus {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.Name == name {
			return s
		}
	}
	return corev1.ContainerStatus{}
}

func ready(pod *corev1.Pod) corev1.ConditionStatus {
	c := kube.PodCondition(pod, corev1.PodReady)
	if c == nil {
		return ""
	}
	return c.Status
}

// events returns "Reason count" of every event, in order of name.
func (w *world) events() []string {
	var out []string
	for _, obj := range w.cluster.Source(kube.Events).List("", labels.Everything()) {
		e := obj.(*corev1.Event)
		out = append(out, e.Reason)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// doings returns what the runtime did, without the removal of leftovers.
func (w *world) doings() []string { return w.runtime.Log() }

func TestInitContainersRunInOrder(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for _, name := range []string{"one", "two"} {
			w.runtime.Program(name, func(uint32) kubelettest.Program { return kubelettest.Program{RunFor: time.Second} })
		}
		w.create(newPod("web", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "one", Image: "app:1"}, {Name: "two", Image: "app:1"}}
		}))
		after(500 * time.Millisecond)
		pod := w.pod("web")
		if pod.Status.Phase != corev1.PodPending || status(pod, "app").State.Waiting.Reason != "PodInitializing" {
			t.Errorf("during init: phase %s, app %+v", pod.Status.Phase, status(pod, "app").State)
		}
		after(2 * time.Second)
		pod = w.pod("web")
		if pod.Status.Phase != corev1.PodRunning || ready(pod) != corev1.ConditionTrue {
			t.Errorf("after init: phase %s ready %s", pod.Status.Phase, ready(pod))
		}
		want := []string{"run sandbox web attempt=0",
			"create one attempt=0", "start one attempt=0", "exit one attempt=0 code=0",
			"create two attempt=0", "start two attempt=0", "exit two attempt=0 code=0",
			"create app attempt=0", "start app attempt=0"}
		if diff := cmp.Diff(want, w.doings()); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	})
}

func TestSidecarStartsFirstAndStopsLast(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Program("app", func(uint32) kubelettest.Program { return kubelettest.Program{RunFor: 5 * time.Second} })
		w.create(newPod("job", func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.InitContainers = []corev1.Container{{Name: "proxy", Image: "sidecar:1", RestartPolicy: always()}}
		}))
		after(time.Second)
		if pod := w.pod("job"); pod.Status.Phase != corev1.PodRunning || ready(pod) != corev1.ConditionTrue {
			t.Fatalf("phase %s ready %s", pod.Status.Phase, ready(pod))
		}
		w.runtime.Kill("proxy", 1) // a sidecar is restarted whatever the pod's policy says
		after(time.Second)
		if got := status(w.pod("job"), "proxy"); got.RestartCount != 1 || got.State.Running == nil {
			t.Errorf("sidecar after its crash: %+v", got)
		}
		after(10 * time.Second)
		pod := w.pod("job")
		if pod.Status.Phase != corev1.PodSucceeded {
			t.Errorf("phase %s, want Succeeded: %v", pod.Status.Phase, w.doings())
		}
		want := []string{"exit app attempt=0 code=0", "stop proxy timeout=30", "exit proxy attempt=1 code=0", "stop sandbox job"}
		if got := w.doings(); !slices.Equal(got[len(got)-4:], want) {
			t.Errorf("end was %q, want %q", got[len(got)-4:], want)
		}
	})
}

func TestCrashLoop(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Program("app", func(uint32) kubelettest.Program {
			return kubelettest.Program{RunFor: time.Second, ExitCode: 3, LastWords: "no luck"}
		})
		w.create(newPod("web"))
		after(1500 * time.Millisecond) // the first restart is immediate
		if got := status(w.pod("web"), "app"); got.RestartCount != 1 || got.State.Running == nil {
			t.Fatalf("after the first crash: %+v", got)
		}
		after(2 * time.Second)
		got := status(w.pod("web"), "app")
		if got.State.Waiting == nil || got.State.Waiting.Reason != "CrashLoopBackOff" {
			t.Fatalf("after the second crash: %+v", got.State)
		}
		if want := "back-off 10s restarting failed container=app pod=web_default(uid-1)"; got.State.Waiting.Message != want {
			t.Errorf("message %q, want %q", got.State.Waiting.Message, want)
		}
		last := got.LastTerminationState.Terminated
		if last == nil || last.ExitCode != 3 || last.Reason != "Error" || last.Message != "no luck" {
			t.Errorf("last state %+v", last)
		}
		if pod := w.pod("web"); pod.Status.Phase != corev1.PodRunning || ready(pod) != corev1.ConditionFalse {
			t.Errorf("phase %s ready %s", pod.Status.Phase, ready(pod))
		}
		var starts []time.Duration
		began := time.Now()
		count := got.RestartCount
		for time.Since(began) < 11*time.Minute {
			after(time.Second)
			if now := status(w.pod("web"), "app").RestartCount; now != count {
				count = now
				starts = append(starts, time.Since(began).Round(time.Second))
			}
		}
		var gaps []string
		for i := 1; i < len(starts); i++ {
			gaps = append(gaps, (starts[i] - starts[i-1]).String())
		}
		if want := "21s 41s 1m21s 2m41s"; !strings.HasPrefix(strings.Join(gaps, " "), want) {
			t.Errorf("restarts were %v apart, want %s", gaps, want)
		}
		if !slices.Contains(w.events(), "BackOff") {
			t.Errorf("events %v lack BackOff", w.events())
		}
		if _, containers := w.runtime.Count(); containers > 2 {
			t.Errorf("%d containers are kept, want at most 2", containers)
		}
	})
}

func TestFinishedPods(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy corev1.RestartPolicy
		code   int32
		want   corev1.PodPhase
	}{
		{"never, success", corev1.RestartPolicyNever, 0, corev1.PodSucceeded},
		{"never, failure", corev1.RestartPolicyNever, 2, corev1.PodFailed},
		{"on failure, success", corev1.RestartPolicyOnFailure, 0, corev1.PodSucceeded},
		{"on failure, failure", corev1.RestartPolicyOnFailure, 2, corev1.PodRunning},
		{"always, success", corev1.RestartPolicyAlways, 0, corev1.PodRunning},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.runtime.Program("app", func(uint32) kubelettest.Program {
					return kubelettest.Program{RunFor: time.Second, ExitCode: c.code}
				})
				w.create(newPod("job", func(p *corev1.Pod) { p.Spec.RestartPolicy = c.policy }))
				after(3 * time.Second)
				pod := w.pod("job")
				if pod.Status.Phase != c.want {
					t.Errorf("phase %s, want %s", pod.Status.Phase, c.want)
				}
				if c.want == corev1.PodSucceeded {
					if cond := kube.PodCondition(pod, corev1.PodReady); cond.Reason != "PodCompleted" {
						t.Errorf("ready condition %+v", cond)
					}
					if log := w.doings(); log[len(log)-1] != "stop sandbox job" {
						t.Errorf("the sandbox of a finished pod still runs: %v", log)
					}
				}
			})
		})
	}
}

func TestContainerRestartRules(t *testing.T) {
	never := corev1.ContainerRestartPolicyNever
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Program("app", func(attempt uint32) kubelettest.Program {
			return kubelettest.Program{RunFor: time.Second, ExitCode: map[uint32]int32{0: 42}[attempt]}
		})
		w.create(newPod("job", func(p *corev1.Pod) {
			p.Spec.Containers[0].RestartPolicy = &never
			p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{
				Action:    corev1.ContainerRestartRuleActionRestart,
				ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
			}}
		}))
		after(5 * time.Second)
		pod := w.pod("job")
		if got := status(pod, "app"); got.RestartCount != 1 || pod.Status.Phase != corev1.PodSucceeded {
			t.Errorf("restarts %d, phase %s; want one restart for code 42 and then success", got.RestartCount, pod.Status.Phase)
		}
	})
}

func TestRestartAllContainers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Program("init", func(uint32) kubelettest.Program { return kubelettest.Program{RunFor: time.Second} })
		w.runtime.Program("app", func(attempt uint32) kubelettest.Program {
			if attempt == 0 {
				return kubelettest.Program{RunFor: 5 * time.Second, ExitCode: 88}
			}
			return kubelettest.Program{}
		})
		w.create(newPod("job", func(p *corev1.Pod) {
			never := corev1.ContainerRestartPolicyNever
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "app:1"}}
			p.Spec.Containers[0].RestartPolicy = &never
			p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{
				Action:    corev1.ContainerRestartRuleActionRestartAllContainers,
				ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{88}},
			}}
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "other", Image: "app:1"})
		}))
		after(20 * time.Second)
		pod := w.pod("job")
		for _, name := range []string{"init", "app", "other"} {
			if got := status(pod, name); got.RestartCount != 1 {
				t.Errorf("%s was restarted %d times, want once: %+v", name, got.RestartCount, got.State)
			}
		}
		if pod.Status.Phase != corev1.PodRunning {
			t.Errorf("phase %s, want Running\n%s", pod.Status.Phase, strings.Join(w.doings(), "\n"))
		}
	})
}

func TestDeadline(t *testing.T) {
	seconds := int64(10)
	inWorld(t, func(t *testing.T, w *world) {
		w.create(newPod("job", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = &seconds }))
		after(12 * time.Second)
		pod := w.pod("job")
		if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "DeadlineExceeded" {
			t.Errorf("phase %s reason %q", pod.Status.Phase, pod.Status.Reason)
		}
	})
}

func TestGracefulDeletion(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Program("app", func(uint32) kubelettest.Program { return kubelettest.Program{TermDelay: 3 * time.Second, TermCode: 0} })
		w.create(newPod("web", func(p *corev1.Pod) {
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"bye"}}}}
		}))
		after(time.Second)
		w.delete("web", 30)
		after(2 * time.Second)
		pod := w.pod("web")
		if pod == nil || status(pod, "app").State.Running == nil {
			t.Fatal("the pod is gone before its container has ended")
		}
		after(2 * time.Second)
		if w.pod("web") != nil {
			t.Errorf("the pod is still there: %+v", w.pod("web").Status)
		}
		log := w.doings()
		if !slices.Contains(log, "exec bye") || !slices.Contains(log, "stop app timeout=30") {
			t.Errorf("runtime: %v", log)
		}
		if entries, _ := os.ReadDir(filepath.Join(w.dir, "pods")); len(entries) != 0 {
			t.Errorf("pod directories are left: %v", entries)
		}
		if entries, _ := os.ReadDir(filepath.Join(w.dir, "log")); len(entries) != 0 {
			t.Errorf("log directories are left: %v", entries)
		}
	})
}

func TestStubbornContainerIsKilled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Program("app", func(uint32) kubelettest.Program { return kubelettest.Program{IgnoreTerm: true} })
		w.create(newPod("web"))
		after(time.Second)
		w.delete("web", 30)
		after(5 * time.Second)
		w.delete("web", 7) // sooner than before: the wait is cut short
		after(6 * time.Second)
		if w.pod("web") == nil {
			t.Error("killed before the shorter grace was over")
		}
		after(2 * time.Second)
		if w.pod("web") != nil {
			t.Error("the shorter grace was not kept")
		}
	})
}

func TestForcedDeletion(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(newPod("web"))
		after(time.Second)
		w.delete("web", 0)
		after(5 * time.Second)
		if s, c := w.runtime.Count(); s+c != 0 {
			t.Errorf("%d sandboxes and %d containers are left", s, c)
		}
	})
}

func TestSidecarStopsLastOnDeletion(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Program("app", func(uint32) kubelettest.Program { return kubelettest.Program{TermDelay: 2 * time.Second} })
		w.create(newPod("web", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{
				{Name: "first", Image: "sidecar:1", RestartPolicy: always()}, {Name: "second", Image: "sidecar:1", RestartPolicy: always()}}
		}))
		after(time.Second)
		w.delete("web", 30)
		after(10 * time.Second)
		var ends []string
		for _, line := range w.doings() {
			if strings.HasPrefix(line, "exit") {
				ends = append(ends, strings.Fields(line)[1])
			}
		}
		if want := []string{"app", "second", "first"}; !slices.Equal(ends, want) {
			t.Errorf("containers ended in the order %v, want %v", ends, want)
		}
	})
}

func TestRestartOfTheAgentAdoptsEverything(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(newPod("web", func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "other", Image: "app:1"})
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"ok"}}}, PeriodSeconds: 5}
		}))
		w.create(newPod("job", func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.Containers[0].Name = "task"
		}))
		w.create(newPod("gone"))
		after(time.Second)
		before := w.doings()
		w.stop()
		w.runtime.Kill("other", 9)
		w.runtime.Kill("task", 7)
		if err := w.cluster.Delete(context.Background(), kube.Pods, "default", "gone", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.start()
		after(3 * time.Second)
		pod := w.pod("web")
		if got := status(pod, "app"); got.RestartCount != 0 || got.State.Running == nil || !got.Ready {
			t.Errorf("the container that ran on: %+v", got)
		}
		got := status(pod, "other")
		if got.RestartCount != 1 || got.LastTerminationState.Terminated == nil || got.LastTerminationState.Terminated.ExitCode != 9 {
			t.Errorf("the container that died meanwhile: %+v", got)
		}
		job := w.pod("job")
		if end := status(job, "task").State.Terminated; job.Status.Phase != corev1.PodFailed || end == nil || end.ExitCode != 7 {
			t.Errorf("the job that ended meanwhile: phase %s, %+v", job.Status.Phase, end)
		}
		if sandboxes, _ := w.runtime.Count(); sandboxes != 2 {
			t.Errorf("%d sandboxes, want 2: the pod deleted meanwhile must go", sandboxes)
		}
		for _, line := range w.doings()[len(before):] {
			if strings.HasPrefix(line, "run sandbox") || strings.HasPrefix(line, "start app") {
				t.Errorf("after the restart: %q", line)
			}
		}
	})
}

func TestRebootMakesNewSandbox(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(newPod("web"))
		after(time.Second)
		first := w.pod("web").Status.PodIP
		w.runtime.BreakSandboxes()
		after(time.Second)
		pod := w.pod("web")
		if got := status(pod, "app"); got.RestartCount != 1 || got.State.Running == nil {
			t.Errorf("app: %+v\n%s", got, strings.Join(w.doings(), "\n"))
		}
		if pod.Status.PodIP == first || len(pod.Status.PodIPs) != 1 {
			t.Errorf("pod addresses %v after the new sandbox, had %s", pod.Status.PodIPs, first)
		}
	})
}

func TestImagePulls(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(newPod("web", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "far/away:1" }))
		after(500 * time.Millisecond)
		if got := status(w.pod("web"), "app").State.Waiting; got == nil || got.Reason != "ErrImagePull" {
			t.Errorf("at first: %+v", got)
		}
		after(3 * time.Second)
		if got := status(w.pod("web"), "app").State.Waiting; got == nil || got.Reason != "ImagePullBackOff" {
			t.Errorf("then: %+v", got)
		}
		w.runtime.Offer("far/away:1")
		after(10 * time.Second)
		if pod := w.pod("web"); pod.Status.Phase != corev1.PodRunning {
			t.Errorf("phase %s after the image appeared: %+v", pod.Status.Phase, status(pod, "app").State)
		}
		w.create(newPod("never", func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "nowhere:1", corev1.PullNever
		}))
		after(time.Second)
		if got := status(w.pod("never"), "app").State.Waiting; got == nil || got.Reason != "ErrImageNeverPull" {
			t.Errorf("policy Never: %+v", got)
		}
	})
}

func TestMissingConfigMapIsWaitedFor(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(newPod("web", func(p *corev1.Pod) {
			p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}
		}))
		after(time.Minute)
		got := status(w.pod("web"), "app").State.Waiting
		if got == nil || got.Reason != "CreateContainerConfigError" || got.Message != `configmap "settings" not found` {
			t.Errorf("waiting: %+v", got)
		}
		if _, err := w.cluster.Create(context.Background(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "default"}, Data: map[string]string{"COLOUR": "red"}}); err != nil {
			t.Fatal(err)
		}
		after(50 * time.Millisecond) // its arrival is the signal, not a timer
		if pod := w.pod("web"); pod.Status.Phase != corev1.PodRunning {
			t.Fatalf("phase %s: %+v", pod.Status.Phase, status(pod, "app").State)
		}
		for _, kv := range w.runtime.ContainerConfig("app").Envs {
			if kv.Key == "COLOUR" && string(kv.Value) == "red" {
				return
			}
		}
		t.Error("the container's environment lacks COLOUR=red")
	})
}

func TestVolumesFollowTheirObjects(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "default"}, Data: map[string]string{"a": "1"}}
		if _, err := w.cluster.Create(context.Background(), cm); err != nil {
			t.Fatal(err)
		}
		w.create(newPod("web", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "conf", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "conf", MountPath: "/conf"}}
		}))
		after(time.Second)
		dir := ""
		for _, m := range w.runtime.ContainerConfig("app").Mounts {
			if m.ContainerPath == "/conf" {
				dir = m.HostPath
			}
		}
		read := func(name string) string {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err.Error()
			}
			return string(data)
		}
		if got := read("a"); got != "1" {
			t.Fatalf("a = %q", got)
		}
		cm.Data = map[string]string{"b": "2"}
		if _, err := w.cluster.Update(context.Background(), cm); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if got := read("b"); got != "2" {
			t.Errorf("b = %q", got)
		}
		if got := read("a"); !strings.Contains(got, "no such file") {
			t.Errorf("a = %q, want it gone", got)
		}
	})
}

func TestStatusIsNeverLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var broken atomic.Bool
		broken.Store(true)
		w.cluster.Fail = func(verb, resource, _ string) error {
			if broken.Load() && verb == "patch" && resource == "pods" {
				return errors.New("no route to host")
			}
			return nil
		}
		w.create(newPod("web"))
		after(time.Minute)
		if got := w.pod("web").Status.Phase; got != "" {
			t.Fatalf("phase %q although nothing could be written", got)
		}
		broken.Store(false)
		after(15 * time.Second)
		if got := w.pod("web").Status.Phase; got != corev1.PodRunning {
			t.Errorf("phase %q after the API came back", got)
		}
	})
}

func TestOOMKilledIsReported(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Program("app", func(attempt uint32) kubelettest.Program {
			if attempt > 0 {
				return kubelettest.Program{}
			}
			return kubelettest.Program{RunFor: time.Second, ExitCode: 137, Reason: "OOMKilled"}
		})
		w.create(newPod("web"))
		after(2 * time.Second)
		got := status(w.pod("web"), "app").LastTerminationState.Terminated
		if got == nil || got.Reason != "OOMKilled" || got.ExitCode != 137 {
			t.Errorf("last state %+v", got)
		}
	})
}

func TestStartFailures(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Program("app", func(uint32) kubelettest.Program {
			return kubelettest.Program{StartError: errors.New(`exec: "nope": executable file not found in $PATH`)}
		})
		w.create(newPod("web"))
		after(100 * time.Millisecond)
		got := status(w.pod("web"), "app").State.Waiting
		if got == nil || got.Reason != "RunContainerError" || !strings.Contains(got.Message, "executable file not found") {
			t.Errorf("waiting: %+v", got)
		}
		after(10 * time.Second)
		got = status(w.pod("web"), "app").State.Waiting
		if last := status(w.pod("web"), "app").LastTerminationState.Terminated; got == nil || got.Reason != "CrashLoopBackOff" || last == nil || last.Reason != "StartError" {
			t.Errorf("after a while: %+v, before that %+v", got, last)
		}
		w.runtime.FailSandboxes(errors.New("no addresses left"))
		w.create(newPod("stuck"))
		after(5 * time.Second)
		if !slices.Contains(w.events(), "FailedCreatePodSandBox") {
			t.Errorf("events: %v", w.events())
		}
	})
}

func TestProbesRestartAndReady(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var healthy, isReady atomic.Bool
		healthy.Store(true)
		w.runtime.Program("app", func(uint32) kubelettest.Program {
			return kubelettest.Program{Exec: func(cmd []string) (string, int) {
				ok := cmd[0] == "live" && healthy.Load() || cmd[0] == "ready" && isReady.Load()
				return "", map[bool]int{true: 0, false: 1}[ok]
			}}
		})
		probe := func(word string) *corev1.Probe {
			return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{word}}}, PeriodSeconds: 1, FailureThreshold: 3}
		}
		w.create(newPod("web", func(p *corev1.Pod) {
			p.Spec.Containers[0].LivenessProbe, p.Spec.Containers[0].ReadinessProbe = probe("live"), probe("ready")
		}))
		after(5 * time.Second)
		if pod := w.pod("web"); pod.Status.Phase != corev1.PodRunning || ready(pod) != corev1.ConditionFalse {
			t.Fatalf("phase %s ready %s, want Running and not ready", pod.Status.Phase, ready(pod))
		}
		isReady.Store(true)
		after(1100 * time.Millisecond)
		if pod := w.pod("web"); ready(pod) != corev1.ConditionTrue {
			t.Errorf("not ready after the probe succeeded")
		}
		healthy.Store(false)
		after(3500 * time.Millisecond)
		healthy.Store(true)
		got := status(w.pod("web"), "app")
		if got.RestartCount != 1 {
			t.Errorf("restart count %d after a failed liveness probe\n%v", got.RestartCount, w.doings())
		}
		if events := w.events(); !slices.Contains(events, "Unhealthy") || !slices.Contains(events, "Killing") {
			t.Errorf("events: %v", events)
		}
	})
}

func TestStartupProbeHoldsTheOthersBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var up atomic.Bool
		var asked atomic.Int32
		w.runtime.Program("app", func(uint32) kubelettest.Program {
			return kubelettest.Program{Exec: func(cmd []string) (string, int) {
				if cmd[0] == "live" {
					asked.Add(1)
				}
				return "", map[bool]int{true: 0, false: 1}[up.Load()]
			}}
		})
		w.create(newPod("web", func(p *corev1.Pod) {
			exec := func(word string) corev1.ProbeHandler {
				return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{word}}}
			}
			p.Spec.Containers[0].StartupProbe = &corev1.Probe{ProbeHandler: exec("up"), PeriodSeconds: 1, FailureThreshold: 100}
			p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: exec("live"), PeriodSeconds: 1, FailureThreshold: 1}
		}))
		after(20 * time.Second)
		got := status(w.pod("web"), "app")
		if asked.Load() != 0 || got.Ready || got.Started == nil || *got.Started {
			t.Errorf("before it has started: %d liveness probes, %+v", asked.Load(), got)
		}
		up.Store(true)
		after(3 * time.Second)
		if got := status(w.pod("web"), "app"); asked.Load() == 0 || !got.Ready || !*got.Started {
			t.Errorf("after it has started: %d liveness probes, %+v", asked.Load(), got)
		}
	})
}

func TestHostPortClash(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		port := func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}
		}
		w.create(newPod("a", port))
		after(time.Second)
		w.create(newPod("b", port))
		after(time.Second)
		pod := w.pod("b")
		if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "NodePorts" || !strings.Contains(pod.Status.Message, "default/a") {
			t.Errorf("phase %s reason %q message %q", pod.Status.Phase, pod.Status.Reason, pod.Status.Message)
		}
	})
}

func TestPostStartHookHoldsBackTheNext(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(newPod("web", func(p *corev1.Pod) {
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}}
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "next", Image: "app:1"})
		}))
		after(4 * time.Second)
		if slices.Contains(w.doings(), "create next attempt=0") {
			t.Error("the second container did not wait for the first one's postStart hook")
		}
		after(2 * time.Second)
		if pod := w.pod("web"); pod.Status.Phase != corev1.PodRunning {
			t.Errorf("phase %s", pod.Status.Phase)
		}
	})
}

func TestDeletionDuringPull(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.SlowPulls(time.Hour)
		w.runtime.Offer("slow:1")
		w.create(newPod("web", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "slow:1" }))
		after(time.Second)
		w.delete("web", 30)
		after(time.Second)
		if w.pod("web") != nil {
			t.Error("deleting a pod waits for its image")
		}
	})
}

func TestImageChangeRestartsTheContainer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(newPod("web"))
		after(time.Second)
		broken := false
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		err := kube.Watch(ctx, w.cluster, kube.Pods, func(_, new *corev1.Pod) {
			broken = broken || ready(new) != corev1.ConditionTrue
		})
		if err != nil {
			t.Fatal(err)
		}
		pod := w.pod("web").DeepCopy()
		pod.Spec.Containers[0].Image = "sidecar:1"
		if _, err := w.cluster.Update(context.Background(), pod); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		got := status(w.pod("web"), "app")
		if got.RestartCount != 1 || got.ImageID != "sha256:sidecar:1" {
			t.Errorf("after the image changed: %+v", got)
		}
		if broken {
			t.Error("the pod looked broken while its container changed in no time")
		}
	})
}

// TestImageChangeThatFails: a container whose new image cannot be had leaves a pod that says so.
func TestImageChangeThatFails(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(newPod("web"))
		after(time.Second)
		pod := w.pod("web").DeepCopy()
		pod.Spec.Containers[0].Image = "nowhere:1"
		if _, err := w.cluster.Update(context.Background(), pod); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		got := status(w.pod("web"), "app")
		if ready(w.pod("web")) != corev1.ConditionFalse || got.State.Waiting == nil || !strings.HasPrefix(got.State.Waiting.Reason, "ErrImage") {
			t.Errorf("after the image changed to one that is nowhere: %s, %+v", ready(w.pod("web")), got)
		}
	})
}

func TestTerseRuntime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Terse()
		w.create(newPod("web"))
		after(time.Second)
		w.runtime.Kill("app", 4)
		after(time.Second)
		if got := status(w.pod("web"), "app"); got.RestartCount != 1 || got.LastTerminationState.Terminated.ExitCode != 4 {
			t.Errorf("app: %+v", got)
		}
	})
}

func shortLived(uint32) kubelettest.Program { return kubelettest.Program{RunFor: time.Second} }

// TestBusyServerIsNoReasonToStop: a conflict over the same pod is not taken for the pod's end.
func TestBusyServerIsNoReasonToStop(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var tries atomic.Int32
		w.cluster.Fail = func(verb, resource, name string) error {
			if verb == "patch" && resource == "pods" && tries.Add(1) == 1 {
				return apierrors.NewConflict(schema.GroupResource{Resource: resource}, name, errors.New("busy"))
			}
			return nil
		}
		w.create(newPod("web"))
		after(time.Second)
		if got := w.pod("web").Status.Phase; got != corev1.PodRunning {
			t.Errorf("phase %q after %d tries", got, tries.Load())
		}
	})
}

func TestEndedByTheNode(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.runtime.Program("app", func(uint32) kubelettest.Program { return kubelettest.Program{IgnoreTerm: true} })
		w.create(newPod("web"))
		after(time.Second)
		w.pool.End(w.pod("web").UID, podworker.Outcome{Phase: corev1.PodFailed, Reason: "Evicted", Message: "too much", Hurry: true})
		after(2 * time.Second)
		pod := w.pod("web")
		if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "Evicted" || pod.Status.Message != "too much" {
			t.Errorf("phase %s reason %q message %q", pod.Status.Phase, pod.Status.Reason, pod.Status.Message)
		}
		if got := status(pod, "app").RestartCount; got != 0 {
			t.Errorf("restarted %d times", got)
		}
	})
}
