package controller_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/cuppa-project/cuppa/controller/garbage"
	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/kube"
	"github.com/cuppa-project/cuppa/kube/events"
)

// late is a cluster that serves one resource only from some moment on.
type late struct {
	kube.Cluster
	mu  sync.Mutex
	fns []func([]kube.Resource)
}

func (l *late) FollowResources(ctx context.Context, fn func([]kube.Resource)) error {
	return l.Cluster.FollowResources(ctx, func(all []kube.Resource) {
		var rest []kube.Resource
		for _, r := range all {
			if r.GroupVersionResource != kube.ConfigMaps {
				rest = append(rest, r)
			}
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.fns = append(l.fns, func([]kube.Resource) { fn(all) })
		fn(rest)
	})
}

// arrive makes the hidden resource known.
func (l *late) arrive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fn := range l.fns {
		fn(nil)
	}
}

func TestGarbageOfAKindThatComesLater(t *testing.T) {
	w := newWorld(t)
	cluster := &late{Cluster: w.Cluster}
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() {
		done <- garbage.New(loop.Deps{Cluster: cluster, Logger: slog.New(slog.DiscardHandler), Clock: clock.RealClock{}, Events: events.Discard})(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })

	owner := w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "owner"}})
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "owned",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Secret", Name: "owner", UID: owner.GetUID()}}}})
	if err := w.Delete(w.ctx, kube.Secrets, "default", "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	cluster.arrive()
	w.until(func() error {
		if _, ok := kube.Get[*corev1.ConfigMap](w, kube.ConfigMaps, "default", "owned"); ok {
			return fmt.Errorf("the owned object is still there")
		}
		return nil
	})
}

func TestSlicesStayWhenAServiceLosesItsSelector(t *testing.T) {
	w := newWorld(t)
	w.create(deployment(1, template("web:1", nil)))
	w.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": "web"}}})
	ready := func() error {
		for _, s := range kube.By[*discoveryv1.EndpointSlice](w, kube.EndpointSlices, kube.ByService, "default/web") {
			if len(s.Endpoints) == 1 && *s.Endpoints[0].Conditions.Ready {
				return nil
			}
		}
		return fmt.Errorf("no ready endpoint")
	}
	w.until(w.rolledOut(1))
	w.until(ready)
	if _, err := kube.MergePatch(w.ctx, w, kube.Services, "default", "web", map[string]any{"spec": map[string]any{"selector": nil}}); err != nil {
		t.Fatal(err)
	}
	// A Service that comes later has its slice, so the controller has seen the change before.
	w.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "later"},
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": "web"}}})
	w.until(func() error {
		if len(kube.By[*discoveryv1.EndpointSlice](w, kube.EndpointSlices, kube.ByService, "default/later")) == 0 {
			return fmt.Errorf("the later Service has no slice")
		}
		return nil
	})
	if err := ready(); err != nil {
		t.Errorf("after the selector went: %v", err)
	}
	// And what its pods do is none of the slices' business any more.
	if _, err := kube.MergePatch(w.ctx, w, kube.Deployments, "default", "web", map[string]any{"spec": map[string]any{"replicas": 0}}); err != nil {
		t.Fatal(err)
	}
	w.until(w.count(0))
	if err := ready(); err != nil {
		t.Errorf("after the pods went: %v", err)
	}
}
