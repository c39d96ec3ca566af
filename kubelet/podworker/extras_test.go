package podworker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/kube"
)

// asking is a pod whose container app asks for what x says.
func asking(x extras.Container, change ...func(*corev1.Pod)) *corev1.Pod {
	d := extras.New("app", x)
	d.ShmSize = 1 << 20
	pod := newPod("web", change...)
	pod.Annotations = map[string]string{api.AnnotationExtras: d.String()}
	return pod
}

// messages are the texts of all warnings.
func (w *world) messages() string {
	var out []string
	for _, obj := range w.cluster.Source(kube.Events).List("", labels.Everything()) {
		if e := obj.(*corev1.Event); e.Type == corev1.EventTypeWarning {
			out = append(out, e.Reason+": "+e.Message)
		}
	}
	return strings.Join(out, "\n")
}

func TestExtrasGoAsValues(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(asking(extras.Container{Init: true, User: "app"}, func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "sidecar", Image: "sidecar:1"})
		}))
		after(time.Second)
		var got []string
		for _, line := range w.doings() {
			if !strings.HasPrefix(line, "start") {
				got = append(got, line)
			}
		}
		want := []string{"run sandbox web attempt=0", "  with shmSize=1048576",
			"create app attempt=0", `  with {"version":"v1","containers":{"app":{"user":"app","init":true}}}`, "create sidecar attempt=0"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		if config := w.runtime.SandboxConfig("web"); len(config.Annotations) != 0 {
			t.Errorf("the runtime was told %v in annotations", config.Annotations)
		}
	})
}

// TestExtrasForAnotherRuntime holds that what a runtime cannot take is refused with a reason, and not passed over.
func TestExtrasForAnotherRuntime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.stop()
		w.foreign = true
		w.start()
		w.create(asking(extras.Container{Devices: []extras.Device{{Host: "/dev/fuse", Path: "/dev/fuse", Access: "r"}}}))
		after(time.Second)
		waiting := status(w.pod("web"), "app").State.Waiting
		want := `the pod asks the engine for what the container runtime of this node (fake) cannot take: shmSize; container "app": devices; run it on`
		if waiting == nil || waiting.Reason != "CreateContainerConfigError" || !strings.Contains(waiting.Message, want) {
			t.Errorf("waiting: %+v, want %q", waiting, want)
		}
		if got := w.messages(); !strings.Contains(got, "Failed: Error: "+want) {
			t.Errorf("warnings: %q", got)
		}
	})
}

func TestExtrasThatAreNotUnderstood(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		pod := newPod("web")
		pod.Annotations = map[string]string{api.EnginePrefix + "user": "nobody"}
		w.create(pod)
		after(time.Second)
		waiting := status(w.pod("web"), "app").State.Waiting
		if waiting == nil || !strings.Contains(waiting.Message, "annotation engine.cuppa.dev/user is not known: what a pod asks of the engine is said in engine.cuppa.dev/extras; bring the pod up to date") {
			t.Errorf("waiting: %+v", waiting)
		}
	})
}

// TestExtrasAndNonRoot holds that a user asked for by name does not get past runAsNonRoot.
func TestExtrasAndNonRoot(t *testing.T) {
	yes, uid := true, int64(1000)
	for user, refused := range map[string]bool{"root": true, "app": true, "0:0": true, "7": false} {
		inWorld(t, func(t *testing.T, w *world) {
			w.create(asking(extras.Container{User: user}, func(p *corev1.Pod) {
				p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsNonRoot: &yes, RunAsUser: &uid}
			}))
			after(time.Second)
			waiting := status(w.pod("web"), "app").State.Waiting
			if (waiting != nil) != refused || refused && !strings.Contains(waiting.Message, "cannot verify user is non-root") {
				t.Errorf("user %s: waiting %+v, want refused=%v", user, waiting, refused)
			}
		})
	}
}

// TestEphemeralContainersAskForNothing holds that somebody who adds a container to a pod gets nothing that the pod's author asked for.
func TestEphemeralContainersAskForNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		pod := asking(extras.Container{Init: true}, func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "sidecar:1"}}}
		})
		pod.Annotations[api.AnnotationExtras] = `{"version":"v1","containers":{"debug":{"user":"root"}}}`
		w.create(pod)
		after(time.Second)
		doings := strings.Join(w.doings(), "\n")
		if !strings.Contains(doings, "create debug") || strings.Contains(doings, "with") && strings.Contains(doings, "root") {
			t.Errorf("doings:\n%s", doings)
		}
	})
}
