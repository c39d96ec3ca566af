package podworker_test

import (
	"context"
	"github.com/cuppa-project/cuppa/kube"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kube/events"
	"github.com/cuppa-project/cuppa/kubelet/criconfig"
	"github.com/cuppa-project/cuppa/kubelet/image"
	"github.com/cuppa-project/cuppa/kubelet/kubelettest"
	"github.com/cuppa-project/cuppa/kubelet/objects"
	"github.com/cuppa-project/cuppa/kubelet/podworker"
	"github.com/cuppa-project/cuppa/kubelet/probe"
	"github.com/cuppa-project/cuppa/kubelet/volume"
)

// world is a node with nothing around it but memory.
type world struct {
	t       *testing.T
	runtime *kubelettest.Runtime
	cluster *kubelettest.Cluster
	dir     string
	stop    func()
	pool    *podworker.Pool
	foreign bool // the runtime is one that knows CRI alone
}

func newWorld(t *testing.T, dir string) *world {
	w := &world{t: t, dir: dir, runtime: kubelettest.NewRuntime("app:1", "sidecar:1"), cluster: kubelettest.NewCluster()}
	return w
}

// start begins a node agent's life; stop ends it as a kill would, leaving containers running.
func (w *world) start() {
	w.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	reader := objects.New(w.cluster, logger)
	volumes, err := volume.New(volume.Config{DataRoot: filepath.Join(w.dir, "pods"), RunRoot: filepath.Join(w.dir, "run"), Source: reader, Logger: logger})
	if err != nil {
		w.t.Fatal(err)
	}
	recorder := events.New(events.Config{Cluster: w.cluster, Component: "kubelet", Host: "node-1", Logger: logger})
	deps := &podworker.Deps{
		Runtime: w.runtime, Cluster: w.cluster, Images: &image.Puller{Images: w.runtime, Source: reader}, Volumes: volumes, Objects: reader,
		Events: recorder, Probes: probe.Handler{Runtime: w.runtime}, NodeName: "node-1", Logger: logger,
		Node:   criconfig.Node{LogRoot: filepath.Join(w.dir, "log"), ClusterDomain: "cluster.local", ClusterDNS: []string{"10.0.0.10"}, CgroupRoot: "cuppa"},
		Around: podworker.Surroundings{HostIPs: []string{"192.0.2.1"}, RuntimeName: "fake"},
	}
	if !w.foreign {
		deps.Extender = w.runtime
	}
	w.pool = podworker.NewPool(deps)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { _ = w.pool.Run(ctx); done <- struct{}{} }()
	go func() { _ = recorder.Run(ctx); done <- struct{}{} }()
	w.stop = func() { cancel(); <-done; <-done }
}

func (w *world) create(pod *corev1.Pod) {
	w.t.Helper()
	if _, err := w.cluster.Create(context.Background(), pod); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pod(name string) *corev1.Pod {
	obj := w.cluster.Source(kube.Pods).Get("default", name)
	if obj == nil {
		return nil
	}
	return obj.(*corev1.Pod)
}

func (w *world) delete(name string, grace int64) {
	w.t.Helper()
	if err := w.cluster.Delete(context.Background(), kube.Pods, "default", name, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		w.t.Fatal(err)
	}
}

// after lets time pass until everything is at rest.
func after(d time.Duration) {
	time.Sleep(d) // virtual
	synctest.Wait()
}

func newPod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	grace := int64(30)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{
			NodeName: "node-1", RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "app", Image: "app:1", TerminationMessagePath: "/dev/termination-log"}},
		},
	}
	for _, f := range change {
		f(pod)
	}
	return pod
}

func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir)
		w.start()
		defer func() { w.stop() }()
		test(t, w)
	})
}

func TestPodRuns(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.create(newPod("web"))
		after(10 * time.Millisecond)
		pod := w.pod("web")
		if pod.Status.Phase != corev1.PodRunning {
			t.Fatalf("phase %q, want Running; runtime: %v", pod.Status.Phase, w.runtime.Log())
		}
		if pod.Status.PodIP == "" || pod.Status.HostIP != "192.0.2.1" {
			t.Errorf("addresses: pod %q host %q", pod.Status.PodIP, pod.Status.HostIP)
		}
		for _, c := range pod.Status.Conditions {
			if c.Status != corev1.ConditionTrue {
				t.Errorf("condition %s is %s: %s", c.Type, c.Status, c.Message)
			}
		}
		if got := w.cluster.Patches("pods", "web"); got != 1 {
			t.Errorf("%d status writes until Running, want 1", got)
		}
		w.delete("web", 30)
		after(time.Second)
		if w.pod("web") != nil {
			t.Errorf("pod is still in the API: %+v", w.pod("web").Status)
		}
		if got := w.cluster.Patches("pods", "web"); got != 2 {
			t.Errorf("%d status writes in a whole life, want 2", got)
		}
		after(time.Second)
		if s, c := w.runtime.Count(); s != 0 || c != 0 {
			t.Errorf("left over: %d sandboxes, %d containers; %s", s, c, strings.Join(w.runtime.Log(), "\n"))
		}
	})
}
