package objects_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kubelet/kubelettest"
	"github.com/cuppa-project/cuppa/kubelet/objects"
)

// narrow is a cluster of which nothing can be listed, and single objects only after some refusals. It counts what is followed and asked for.
type narrow struct {
	kube.Cluster
	refusals, followed, asked atomic.Int64
}

func (n *narrow) Source(schema.GroupVersionResource) kube.Source { panic("a node may not list") }

func (n *narrow) One(ctx context.Context, res schema.GroupVersionResource, namespace, name string, fn func(kube.Object)) error {
	if n.refusals.Add(-1) >= 0 {
		return errors.New("forbidden")
	}
	n.followed.Add(1)
	context.AfterFunc(ctx, func() { n.followed.Add(-1) })
	return n.Cluster.One(ctx, res, namespace, name, fn)
}

func (n *narrow) Live(ctx context.Context, res schema.GroupVersionResource, namespace, name string) (kube.Object, error) {
	n.asked.Add(1)
	return n.Cluster.Live(ctx, res, namespace, name)
}

func podWith(name, configMap string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}}}}}}}
}

// TestHold: an object is followed once however many pods refer to it, each of them is told of its changes, and nobody follows it when the last
// has been gone for a while. What is followed is read from memory.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cluster := &narrow{Cluster: kubelettest.NewCluster()}
		reader := objects.New(cluster, slog.New(slog.DiscardHandler))
		put := func(value string) {
			t.Helper()
			m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "m"}, Data: map[string]string{"k": value}}
			if _, err := cluster.Create(ctx, m); err != nil {
				if _, err := cluster.Update(ctx, m); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		var told [2]atomic.Int64
		want := func(when, value string, asked, first, second, followed int64) {
			t.Helper()
			m, err := reader.ConfigMap(ctx, "ns", "m")
			if got := ""; err == nil {
				if got = m.Data["k"]; got != value {
					t.Errorf("%s: read %q, want %q", when, got, value)
				}
			} else if value != "" || !errors.Is(err, errkind.NotFound) {
				t.Errorf("%s: %v, want %q", when, err, value)
			}
			have := [4]int64{cluster.asked.Load(), told[0].Load(), told[1].Load(), cluster.followed.Load()}
			if have != [4]int64{asked, first, second, followed} {
				t.Errorf("%s: asked the server, told two pods, followed %v; want %v", when, have, [4]int64{asked, first, second, followed})
			}
		}
		hold := func(i int, pod *corev1.Pod) {
			reader.Hold(ctx, pod, func() { told[i].Add(1) })
			synctest.Wait()
		}
		hold(0, podWith("a", "m"))
		want("before it is there", "", 1, 0, 0, 1)
		put("1")
		want("once it is there", "1", 1, 1, 0, 1)
		hold(1, podWith("b", "m"))
		put("2")
		want("with two pods", "2", 1, 2, 1, 1)
		hold(0, podWith("a", "m"))
		want("when a pod has changed", "2", 1, 2, 1, 1)
		reader.Release("a")
		put("3")
		want("without the first", "3", 1, 2, 2, 1)
		reader.Release("b")
		put("4")
		want("just after both", "4", 1, 2, 2, 1)
		hold(1, podWith("b", "m"))
		time.Sleep(2 * time.Minute)
		want("with one again, long after", "4", 1, 2, 2, 1)
		reader.Release("b")
		time.Sleep(2 * time.Minute)
		want("long after both", "4", 2, 2, 2, 0)
		hold(0, podWith("c", "m"))
		cancel()
		reader.Wait()
	})
}

// TestHoldIsRefused: a server that does not know of the pod yet is asked again, and meanwhile for the object itself.
func TestHoldIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cluster := &narrow{Cluster: kubelettest.NewCluster()}
		cluster.refusals.Store(2)
		reader := objects.New(cluster, slog.New(slog.DiscardHandler))
		if _, err := cluster.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "m"}}); err != nil {
			t.Fatal(err)
		}
		var told atomic.Int64
		reader.Hold(ctx, podWith("a", "m"), func() { told.Add(1) })
		if _, err := reader.ConfigMap(ctx, "ns", "m"); err != nil || cluster.asked.Load() != 1 {
			t.Errorf("while refused: %v, asked %d times; want once", err, cluster.asked.Load())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if cluster.followed.Load() != 1 || told.Load() != 1 {
			t.Errorf("after a second: followed %d, told %d; want one of each", cluster.followed.Load(), told.Load())
		}
		cancel()
		reader.Wait()
	})
}

// TestSecretsAreForgotten: a Secret is not followed for a moment longer than a pod needs it.
func TestSecretsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cluster := &narrow{Cluster: kubelettest.NewCluster()}
		reader := objects.New(cluster, slog.New(slog.DiscardHandler))
		reader.Hold(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", UID: "a"}, Spec: corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "s"}}}}, func() {})
		synctest.Wait()
		if got := cluster.followed.Load(); got != 1 {
			t.Errorf("with a pod: %d followed, want 1", got)
		}
		reader.Release("a")
		synctest.Wait()
		if got := cluster.followed.Load(); got != 0 {
			t.Errorf("after it: %d followed, want 0", got)
		}
		cancel()
		reader.Wait()
	})
}
