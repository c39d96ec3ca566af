package podworker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// demanding has a bit of everything whose making can be interrupted.
func demanding(p *corev1.Pod) {
	p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "app:1"}, {Name: "side", Image: "sidecar:1", RestartPolicy: always()}}
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "other", Image: "app:1"})
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
}

// killedAt runs a pod's whole life with an agent that dies at the n-th call to the runtime and comes back, and returns how many calls
// a life takes.
func killedAt(t *testing.T, n int) (calls int) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		w.runtime.Program("init", shortLived)
		die := make(chan struct{}, 1)
		w.runtime.OnCall(func(call int) {
			if call == n {
				die <- struct{}{}
			}
		})
		w.start()
		go func() {
			for range die {
				w.stop()
				time.Sleep(3 * time.Second)
				w.start()
			}
		}()
		w.create(newPod("web", demanding))
		after(2 * time.Minute)
		pod := w.pod("web")
		if pod.Status.Phase != corev1.PodRunning || ready(pod) != corev1.ConditionTrue {
			t.Errorf("killed at %d: phase %s, ready %s\n%s", n, pod.Status.Phase, ready(pod), strings.Join(w.doings(), "\n"))
		}
		for _, name := range []string{"side", "app", "other"} {
			if got := status(pod, name).RestartCount; got != 0 {
				t.Errorf("killed at %d: %s was restarted %d times\n%s", n, name, got, strings.Join(w.doings(), "\n"))
			}
		}
		w.delete("web", 30)
		after(2 * time.Minute)
		if w.pod("web") != nil {
			t.Errorf("killed at %d: the deleted pod is still there: %s", n, strings.Join(w.doings(), "\n"))
		}
		if s, c := w.runtime.Count(); s+c != 0 {
			t.Errorf("killed at %d: %d sandboxes and %d containers are left", n, s, c)
		}
		for _, left := range []string{"pods", "run", "log"} {
			if entries, _ := os.ReadDir(filepath.Join(dir, left)); len(entries) != 0 {
				t.Errorf("killed at %d: %s has %v", n, left, entries)
			}
		}
		calls = len(w.doings())
		close(die)
		synctest.Wait()
		w.stop()
	})
	return calls
}

// TestKilledAnywhere: whenever the agent dies, its next life finishes what it had begun, and nothing is started twice.
func TestKilledAnywhere(t *testing.T) {
	calls := killedAt(t, 0)
	if calls < 15 {
		t.Fatalf("a whole life took %d calls only", calls)
	}
	for n := 1; n <= calls; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) { killedAt(t, n) })
	}
}
