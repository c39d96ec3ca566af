package evict_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/kubelet/evict"
	"github.com/cuppa-project/cuppa/kubelet/podworker"
)

func pod(name, request string, priority int32) *corev1.Pod {
	limit := resource.MustParse("1Mi")
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{Priority: &priority,
			Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"memory": resource.MustParse(request)}}}},
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}},
	}
}

func TestDecide(t *testing.T) {
	use := func(p *corev1.Pod, memory, volume int64) evict.Usage {
		return evict.Usage{Pod: p, Memory: memory, Volumes: map[string]int64{"v": volume}}
	}
	for _, c := range []struct {
		name      string
		usages    []evict.Usage
		available int64
		want      string
	}{
		{"all well", []evict.Usage{use(pod("a", "1Gi", 0), 100, 100)}, 1000, ""},
		{"a volume is over its limit", []evict.Usage{use(pod("a", "1Gi", 0), 0, 2<<20), use(pod("b", "1Gi", 0), 0, 1<<20)}, 1000, "a"},
		{"short of memory: the furthest over its request", []evict.Usage{use(pod("a", "1Gi", 0), 1<<30+5, 0), use(pod("b", "1Mi", 0), 10<<20, 0)}, 10, "b"},
		{"short of memory: one within its request goes last", []evict.Usage{use(pod("a", "1Gi", 0), 900<<20, 0), use(pod("b", "1Mi", 9), 2<<20, 0)}, 10, "b"},
		{"short of memory: the lower priority first", []evict.Usage{use(pod("a", "0", 5), 900<<20, 0), use(pod("b", "0", 1), 2<<20, 0)}, 10, "b"},
		{"short of memory, nobody to blame", []evict.Usage{use(pod("a", "0", 0), 0, 0)}, 10, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, e := range evict.Decide(c.usages, c.available, 100) {
				got = append(got, string(e.UID))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("evicts %v, want %q", got, c.want)
			}
		})
	}
}

func TestWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := map[types.UID]podworker.Outcome{}
		finished := pod("done", "0", 0)
		finished.Status.Phase = corev1.PodSucceeded
		w := &evict.Watcher{Config: evict.Config{
			Pods:      func() []*corev1.Pod { return []*corev1.Pod{pod("big", "0", 0), finished} },
			Volume:    func(context.Context, types.UID, string) (int64, error) { return 5 << 20, nil },
			Available: func() int64 { return 1000 }, Least: 100,
			End:    func(uid types.UID, o podworker.Outcome) { ended[uid] = o },
			Logger: slog.New(slog.DiscardHandler),
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 11*time.Second)
		defer cancel()
		if err := w.Run(ctx); err == nil {
			t.Error("the watcher ended by itself")
		}
		if len(ended) != 1 || ended["big"].Reason != "Evicted" || ended["big"].Message != `Usage of EmptyDir volume "v" exceeds the limit "1Mi". ` {
			t.Errorf("ended: %+v", ended)
		}
	})
}
