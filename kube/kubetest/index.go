package kubetest

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/kube"
)

// byData is an index of the suite's own: what a config map says.
var byData = &kube.Index{Name: "data", Keys: func(obj kube.Object) []string {
	if cm, ok := obj.(*corev1.ConfigMap); ok && cm.Data["k"] != "" {
		return []string{cm.Data["k"]}
	}
	return nil
}}

func names(objs []kube.Object) string {
	var out []string
	for _, obj := range objs {
		out = append(out, obj.GetName())
	}
	return fmt.Sprint(out)
}

// indexesFollowOwnWrites holds that By shows a write once it has returned: objects that come, move to another key, and go.
func (s suite) indexesFollowOwnWrites(t *testing.T) {
	s.warm(t)
	source := s.Source(kube.ConfigMaps)
	want := func(when string, key, names_ string) {
		t.Helper()
		if got := names(source.By(byData, key)); got != names_ {
			t.Errorf("%s: under %q got %s, want %s", when, key, got, names_)
		}
	}
	want("before anything", "indexed", "[]")
	b := s.create(t, configMap("index-b", "indexed")).(*corev1.ConfigMap)
	s.create(t, configMap("index-a", "indexed"))
	want("after two creates", "indexed", "[index-a index-b]")
	b.Data["k"] = "moved"
	if _, err := s.Update(s.ctx, b); err != nil {
		t.Fatal(err)
	}
	want("after b moved", "indexed", "[index-a]")
	want("after b moved", "moved", "[index-b]")
	if err := s.Delete(s.ctx, kube.ConfigMaps, "default", "index-a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want("after a went", "indexed", "[]")
	if got, _ := source.By(byData, "moved")[0].(*corev1.ConfigMap); got == nil || got.Data["k"] != "moved" {
		t.Errorf("under \"moved\": got %v, want the present object", got)
	}
}

// indexesOfTheTable holds kube's own indexes over metadata to what they say, of whole objects and of metadata.
func (s suite) indexesOfTheTable(t *testing.T) {
	s.warm(t)
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Secret", Name: "nobody", UID: "the-owner", Controller: new(true)}
	owned := configMap("owned", "tabled")
	owned.OwnerReferences = []metav1.OwnerReference{owner}
	s.create(t, owned)
	s.create(t, configMap("orphan", "tabled"))
	for _, c := range []struct {
		index *kube.Index
		key   string
		want  string
	}{
		{kube.ByOwner, "the-owner", "[owned]"},
		{kube.ByOwner, "another", "[]"},
		{kube.ByLabel, kube.LabelKey("default", "value", "tabled"), "[orphan owned]"},
		{kube.ByLabel, kube.LabelKey("kube-system", "value", "tabled"), "[]"},
		{kube.Orphans, kube.LabelKey("default", "value", "tabled"), "[orphan]"},
	} {
		if got := names(s.Source(kube.ConfigMaps).By(c.index, c.key)); got != c.want {
			t.Errorf("by %s, %q: got %s, want %s", c.index.Name, c.key, got, c.want)
		}
	}
	selector := labels.SelectorFromSet(labels.Set{"value": "tabled"})
	if got := len(kube.Labelled[*corev1.ConfigMap](s.Cluster, kube.ConfigMaps, kube.Orphans, "default", selector)); got != 1 {
		t.Errorf("orphans that a selector matches: got %d, want 1", got)
	}
	wide, err := labels.Parse("value,value in (tabled,other)")
	if err != nil {
		t.Fatal(err)
	}
	if got := len(kube.Labelled[*corev1.ConfigMap](s.Cluster, kube.ConfigMaps, kube.Orphans, "default", wide)); got != 1 {
		t.Errorf("orphans that a selector without a value matches: got %d, want 1", got)
	}
}

// selectorsAreFound holds that Services are found by the labels they select.
func (s suite) selectorsAreFound(t *testing.T) {
	service := func(name string, selector map[string]string) {
		s.create(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: selector, Ports: []corev1.ServicePort{{Port: 80}}}})
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	if err := s.Source(kube.Services).Watch(ctx, func(kube.Event) {}); err != nil {
		t.Fatal(err)
	}
	service("one", map[string]string{"app": "web"})
	service("two", map[string]string{"app": "web", "tier": "front"})
	service("none", nil)
	service("other", map[string]string{"app": "db"})
	found := map[string]bool{}
	for _, svc := range kube.Selecting[*corev1.Service](s.Cluster, kube.Services, "default", map[string]string{"app": "web", "x": "y"}) {
		found[svc.Name] = true
	}
	if want := map[string]bool{"one": true, "two": true}; fmt.Sprint(found) != fmt.Sprint(want) {
		t.Errorf("services that may select app=web: got %v, want %v", found, want)
	}
}

// metadataAlone holds that Metadata lists, finds and watches objects of any kind, with the previous state at each change.
func (s suite) metadataAlone(t *testing.T) {
	source := s.Metadata(kube.Secrets)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	news := make(chan string, 100)
	err := source.Watch(ctx, func(e kube.Event) {
		show := func(obj kube.Object) string {
			if obj == nil || obj.GetName() != "meta" {
				return "-"
			}
			return obj.GetLabels()["step"]
		}
		if line := show(e.Old) + ">" + show(e.New); line != "->-" {
			news <- line
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "meta", Labels: map[string]string{"step": "1"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Secret", Name: "nobody", UID: types.UID("meta-owner")}}},
		Data: map[string][]byte{"k": []byte("v")}}
	made := s.create(t, secret).(*corev1.Secret)
	got := source.Get("default", "meta")
	if got == nil || got.GetUID() != made.UID || got.GetResourceVersion() != made.ResourceVersion || got.GetLabels()["step"] != "1" {
		t.Errorf("right after create: got %v", got)
	}
	if got := names(source.By(kube.ByOwner, "meta-owner")); got != "[meta]" {
		t.Errorf("by owner: got %s, want [meta]", got)
	}
	if got := names(source.List("default", labels.SelectorFromSet(labels.Set{"step": "1"}))); got != "[meta]" {
		t.Errorf("list step=1: got %s, want [meta]", got)
	}
	made.Labels["step"] = "2"
	if _, err := s.Update(s.ctx, made); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(s.ctx, kube.Secrets, "default", "meta", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"->1", "1>2", "2>-"} {
		select {
		case line := <-news:
			if line != want {
				t.Errorf("event: got %s, want %s", line, want)
			}
		case <-ctx.Done():
			t.Fatalf("no event %s", want)
		}
	}
}

// resourcesAreFollowed holds that a follower is told at once what there is.
func (s suite) resourcesAreFollowed(t *testing.T) {
	var pods bool
	err := s.FollowResources(s.ctx, func(all []kube.Resource) {
		for _, r := range all {
			pods = pods || r.GroupVersionResource == kube.Pods
		}
	})
	if err != nil || !pods {
		t.Errorf("when FollowResources returns: pods are among the resources: %v (error %v)", pods, err)
	}
}
