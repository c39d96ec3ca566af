// Package kubetest is the suite that every kube.Cluster passes.
package kubetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/kube"
)

// patience bounds every wait; a Cluster that works never comes near it.
const patience = 20 * time.Second

// Run holds a Cluster to what kube.Cluster promises. The cluster behind it is empty but for the system's namespaces, and of this test alone.
func Run(t *testing.T, c kube.Cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	s := suite{ctx, c}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"ReadsFollowOwnWrites", s.readsFollowOwnWrites},
		{"WatchDeliversAllInOrder", s.watchDeliversAllInOrder},
		{"WatchEndsWithItsContext", s.watchEndsWithItsContext},
		{"ListSelects", s.listSelects},
		{"IndexesFollowOwnWrites", s.indexesFollowOwnWrites},
		{"IndexesOfTheTable", s.indexesOfTheTable},
		{"SelectorsAreFound", s.selectorsAreFound},
		{"MetadataAlone", s.metadataAlone},
		{"OneIsFollowed", s.oneIsFollowed},
		{"ErrorsAreStatusErrors", s.errorsAreStatusErrors},
		{"StatusAndPatch", s.statusAndPatch},
		{"Binding", s.binding},
		{"Resources", s.resources},
		{"ResourcesAreFollowed", s.resourcesAreFollowed},
		{"SharedObjectsStay", s.sharedObjectsStay},
	} {
		t.Run(test.name, test.run)
	}
}

type suite struct {
	ctx context.Context
	kube.Cluster
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"value": value}}, Data: map[string]string{"k": value}}
}

func (s suite) create(t *testing.T, obj kube.Object) kube.Object {
	t.Helper()
	out, err := s.Create(s.ctx, obj)
	if err != nil {
		t.Fatalf("create %s: %v", obj.GetName(), err)
	}
	return out
}

// warm makes sure that the resource is in memory.
func (s suite) warm(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	if err := s.Source(kube.ConfigMaps).Watch(ctx, func(kube.Event) {}); err != nil {
		t.Fatal(err)
	}
}

func (s suite) readsFollowOwnWrites(t *testing.T) {
	s.warm(t)
	for i := range 50 {
		name := fmt.Sprint("own-", i)
		obj := s.create(t, configMap(name, "a")).(*corev1.ConfigMap)
		got, ok := kube.Get[*corev1.ConfigMap](s.Cluster, kube.ConfigMaps, "default", name)
		if !ok || got.Data["k"] != "a" {
			t.Fatalf("right after create %s: got %v %v", name, got, ok)
		}
		obj.Data["k"] = "b"
		if _, err := s.Update(s.ctx, obj); err != nil {
			t.Fatal(err)
		}
		if got, _ := kube.Get[*corev1.ConfigMap](s.Cluster, kube.ConfigMaps, "default", name); got.Data["k"] != "b" {
			t.Fatalf("right after update %s: got %q, want b", name, got.Data["k"])
		}
		if err := s.Delete(s.ctx, kube.ConfigMaps, "default", name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, ok := kube.Get[*corev1.ConfigMap](s.Cluster, kube.ConfigMaps, "default", name); ok {
			t.Fatalf("right after delete: %s is still there", name)
		}
	}
}

func (s suite) watchDeliversAllInOrder(t *testing.T) {
	s.create(t, configMap("before", "1"))
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var mu sync.Mutex
	var log []string
	done := make(chan struct{})
	note := func(e kube.Event) {
		mu.Lock()
		defer mu.Unlock()
		value := func(o kube.Object) string {
			if o == nil {
				return "-"
			}
			return o.(*corev1.ConfigMap).Data["k"]
		}
		for _, o := range []kube.Object{e.Old, e.New} {
			if o != nil && o.GetName() == "before" {
				log = append(log, value(e.Old)+">"+value(e.New))
				break
			}
		}
		if len(log) > 0 && e.New == nil && e.Old.GetName() == "before" {
			close(done)
		}
	}
	if err := s.Source(kube.ConfigMaps).Watch(ctx, note); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if len(log) != 1 || log[0] != "->1" {
		t.Errorf("when Watch returns: got %v, want the object that was there", log)
	}
	mu.Unlock()
	for i := 2; i < 6; i++ {
		obj, err := s.Live(s.ctx, kube.ConfigMaps, "default", "before")
		if err != nil {
			t.Fatal(err)
		}
		cm := obj.(*corev1.ConfigMap)
		cm.Data["k"] = fmt.Sprint(i)
		if _, err := s.Update(s.ctx, cm); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(s.ctx, kube.ConfigMaps, "default", "before", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("the removal was not delivered")
	}
	mu.Lock()
	defer mu.Unlock()
	if got, want := fmt.Sprint(log), "[->1 1>2 2>3 3>4 4>5 5>-]"; got != want {
		t.Errorf("events: got %s, want %s", got, want)
	}
}

func (s suite) watchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(s.ctx)
	var mu sync.Mutex
	ended, late := false, 0
	err := s.Source(kube.ConfigMaps).Watch(ctx, func(e kube.Event) {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			late++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	// A second watch sees the object: by then the first would have too.
	other, stop := context.WithCancel(s.ctx)
	defer stop()
	mu.Lock()
	ended = true
	mu.Unlock()
	seen := make(chan struct{})
	err = s.Source(kube.ConfigMaps).Watch(other, func(e kube.Event) {
		if e.New != nil && e.New.GetName() == "after-the-end" {
			close(seen)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s.create(t, configMap("after-the-end", ""))
	select {
	case <-seen:
	case <-s.ctx.Done():
		t.Fatal("the second watch saw nothing")
	}
	mu.Lock()
	defer mu.Unlock()
	if late > 0 {
		t.Errorf("%d events were delivered after the watch's context had ended", late)
	}
}

func (s suite) listSelects(t *testing.T) {
	s.warm(t)
	for _, name := range []string{"c", "a", "b"} {
		value := "x"
		if name == "b" {
			value = "y"
		}
		s.create(t, configMap("list-"+name, value))
	}
	var got []string
	for _, obj := range kube.List[*corev1.ConfigMap](s.Cluster, kube.ConfigMaps, "default", labels.SelectorFromSet(labels.Set{"value": "x"})) {
		got = append(got, obj.Name)
	}
	if want := "[list-a list-c]"; fmt.Sprint(got) != want {
		t.Errorf("list value=x: got %v, want %s in this order", got, want)
	}
	if other := kube.List[*corev1.ConfigMap](s.Cluster, kube.ConfigMaps, "kube-public", labels.SelectorFromSet(labels.Set{"value": "x"})); len(other) != 0 {
		t.Errorf("list in another namespace: got %d objects", len(other))
	}
}

func (s suite) errorsAreStatusErrors(t *testing.T) {
	obj := s.create(t, configMap("errors", "1")).(*corev1.ConfigMap)
	if _, err := s.Create(s.ctx, configMap("errors", "1")); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create twice: got %v, want AlreadyExists", err)
	}
	if _, err := s.Live(s.ctx, kube.ConfigMaps, "default", "nothing"); !apierrors.IsNotFound(err) {
		t.Errorf("get of nothing: got %v, want NotFound", err)
	}
	fresh := obj.DeepCopy()
	fresh.Data["k"] = "2"
	if _, err := s.Update(s.ctx, fresh); err != nil {
		t.Fatal(err)
	}
	stale := obj.DeepCopy()
	stale.Data["k"] = "3"
	if _, err := s.Update(s.ctx, stale); !apierrors.IsConflict(err) {
		t.Errorf("update of an old revision: got %v, want Conflict", err)
	}
	wrong := types.UID("someone-else")
	err := s.Delete(s.ctx, kube.ConfigMaps, "default", "errors", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}})
	if !apierrors.IsConflict(err) {
		t.Errorf("delete with another UID: got %v, want Conflict", err)
	}
	bad := configMap("Not_A_Name", "")
	if _, err := s.Create(s.ctx, bad); !apierrors.IsInvalid(err) {
		t.Errorf("create with a bad name: got %v, want Invalid", err)
	}
}

func (s suite) statusAndPatch(t *testing.T) {
	node := s.create(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}).(*corev1.Node)
	node.Spec.Unschedulable = true // a status update changes no spec
	node.Status.Phase = corev1.NodeRunning
	if _, err := s.UpdateStatus(s.ctx, node); err != nil {
		t.Fatal(err)
	}
	live, err := s.Live(s.ctx, kube.Nodes, "", "n1")
	if err != nil {
		t.Fatal(err)
	}
	if got := live.(*corev1.Node); got.Status.Phase != corev1.NodeRunning || got.Spec.Unschedulable {
		t.Errorf("after UpdateStatus: got phase %q, unschedulable %v; want the status changed and nothing else", got.Status.Phase, got.Spec.Unschedulable)
	}
	if _, err := kube.MergePatch(s.ctx, s, kube.Nodes, "", "n1", map[string]any{"spec": map[string]any{"unschedulable": true}}); err != nil {
		t.Fatal(err)
	}
	live, err = s.Live(s.ctx, kube.Nodes, "", "n1")
	if err != nil {
		t.Fatal(err)
	}
	if !live.(*corev1.Node).Spec.Unschedulable {
		t.Error("after the patch: the node is still schedulable")
	}
}

func (s suite) binding(t *testing.T) {
	s.create(t, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	s.create(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}})
	bind := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	if _, err := s.CreateSub(s.ctx, kube.Pods, "default", "p", "binding", bind); err != nil {
		t.Fatal(err)
	}
	live, err := s.Live(s.ctx, kube.Pods, "default", "p")
	if err != nil {
		t.Fatal(err)
	}
	if got := live.(*corev1.Pod).Spec.NodeName; got != "n1" {
		t.Errorf("after binding: got node %q, want n1", got)
	}
	if _, err := s.CreateSub(s.ctx, kube.Pods, "default", "p", "binding", bind); !apierrors.IsConflict(err) {
		t.Errorf("binding twice: got %v, want Conflict", err)
	}
}

func (s suite) resources(t *testing.T) {
	all, err := s.Cluster.Resources(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]kube.Resource{}
	for _, r := range all {
		found[r.Resource] = r
	}
	if r := found["pods"]; r.Kind != "Pod" || !r.Namespaced {
		t.Errorf("pods: got %+v", r)
	}
	if r := found["nodes"]; r.Kind != "Node" || r.Namespaced {
		t.Errorf("nodes: got %+v", r)
	}
	if r := found["deployments"]; r.Group != "apps" {
		t.Errorf("deployments: got %+v", r)
	}
}

// sharedObjectsStay holds that what a caller does to a returned object reaches nobody else's memory.
func (s suite) sharedObjectsStay(t *testing.T) {
	s.warm(t)
	mine := s.create(t, configMap("shared", "1")).(*corev1.ConfigMap)
	mine.Data["k"] = "scribble"
	if got, _ := kube.Get[*corev1.ConfigMap](s.Cluster, kube.ConfigMaps, "default", "shared"); got.Data["k"] != "1" {
		t.Errorf("memory after the caller changed its own object: got %q, want 1", got.Data["k"])
	}
}
