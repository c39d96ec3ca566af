package kubetest

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/kube"
)

// oneIsFollowed: from before it is there until it is there again, and nothing of its neighbours.
func (s suite) oneIsFollowed(t *testing.T) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	seen := make(chan string, 100)
	err := s.One(ctx, kube.ConfigMaps, "default", "one", func(obj kube.Object) {
		if obj == nil {
			seen <- "none"
			return
		}
		seen <- obj.GetName() + " " + obj.(*corev1.ConfigMap).Data["k"]
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 {
		t.Fatalf("%d calls when it returned, want 1", len(seen))
	}
	next := func(want string) {
		t.Helper()
		select {
		case got := <-seen:
			if got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		case <-ctx.Done():
			t.Fatalf("nothing came, want %s", want)
		}
	}
	next("none")
	s.create(t, configMap("one-more", "x"))
	obj := s.create(t, configMap("one", "a")).(*corev1.ConfigMap)
	next("one a")
	obj.Data["k"] = "b"
	if _, err := s.Update(s.ctx, obj); err != nil {
		t.Fatal(err)
	}
	next("one b")
	if err := s.Delete(s.ctx, kube.ConfigMaps, "default", "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	next("none")
	s.create(t, configMap("one", "c"))
	next("one c")
	for name, want := range map[string]string{"one": "one c", "one-more": "one-more x"} {
		found := ""
		err := s.One(ctx, kube.ConfigMaps, "default", name, func(obj kube.Object) { found = obj.GetName() + " " + obj.(*corev1.ConfigMap).Data["k"] })
		if err != nil || found != want {
			t.Errorf("from the beginning: got %q, %v, want %q", found, err, want)
		}
	}
	cancel()
	for _, name := range []string{"one", "one-more"} {
		if err := s.Delete(s.ctx, kube.ConfigMaps, "default", name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
