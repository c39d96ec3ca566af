package apiserver_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
)

func client(t testing.TB, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func forms(s *apiservertest.Server) map[string]*rest.Config {
	json := rest.CopyConfig(s.Config)
	json.ContentType = "application/json"
	json.AcceptContentTypes = "application/json"
	return map[string]*rest.Config{"protobuf": s.Config, "json": json}
}

func TestVerbs(t *testing.T) {
	s := apiservertest.New(t)
	for name, config := range forms(s) {
		t.Run(name, func(t *testing.T) { testVerbs(t, client(t, config), "cm-"+name) })
	}
}

func testVerbs(t *testing.T, c *kubernetes.Clientset, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	maps := c.CoreV1().ConfigMaps("default")
	w, err := maps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	defer w.Stop()
	made, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"a": name}}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if made.UID == "" || made.ResourceVersion == "" || made.CreationTimestamp.IsZero() || len(made.ManagedFields) != 1 {
		t.Fatalf("create: incomplete metadata: %+v", made.ObjectMeta)
	}
	if _, err := maps.Create(ctx, made.DeepCopy(), metav1.CreateOptions{}); err == nil {
		t.Fatal("create with a resource version: no error")
	}
	got, err := maps.Get(ctx, name, metav1.GetOptions{})
	if err != nil || got.Data["k"] != "v" || got.ResourceVersion != made.ResourceVersion {
		t.Fatalf("get: %v, %+v", err, got)
	}
	list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "a=" + name})
	if err != nil || len(list.Items) != 1 || list.Items[0].ResourceVersion != made.ResourceVersion || list.ResourceVersion == "" {
		t.Fatalf("list: %v, %+v", err, list)
	}
	got.Data["k"] = "w"
	changed, err := maps.Update(ctx, got, metav1.UpdateOptions{})
	if err != nil || changed.Data["k"] != "w" || changed.ResourceVersion == made.ResourceVersion {
		t.Fatalf("update: %v, %+v", err, changed)
	}
	same, err := maps.Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil || same.ResourceVersion != changed.ResourceVersion {
		t.Fatalf("update without a change: %v, revision %s, want %s", err, same.ResourceVersion, changed.ResourceVersion)
	}
	if _, err := maps.Update(ctx, made, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Fatalf("update of a stale object: %v, want a conflict", err)
	}
	if err := maps.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("delete: %v", err)
	}
	if _, err := maps.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("get of what was deleted: %v, want not found", err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Modified, watch.Deleted} {
		select {
		case e := <-w.ResultChan():
			if e.Type != want || e.Object.(*corev1.ConfigMap).Name != name {
				t.Fatalf("watch: %v %v, want %v", e.Type, e.Object, want)
			}
		case <-ctx.Done():
			t.Fatalf("watch: no %v event", want)
		}
	}
}
