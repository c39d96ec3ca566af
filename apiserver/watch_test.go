package apiserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
)

func configMap(name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: map[string]string{"k": name}}
}

func create(t testing.TB, c *kubernetes.Clientset, cm *corev1.ConfigMap) *corev1.ConfigMap {
	t.Helper()
	made, err := c.CoreV1().ConfigMaps("default").Create(context.Background(), cm, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create %s: %v", cm.Name, err)
	}
	return made
}

func next(t testing.TB, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event in 10 s")
	}
	panic("not reached")
}

func name(e watch.Event) string {
	if m, ok := e.Object.(metav1.Object); ok {
		return fmt.Sprintf("%s %s", e.Type, m.GetName())
	}
	return fmt.Sprintf("%s %T", e.Type, e.Object)
}

func TestWatchInitialEvents(t *testing.T) {
	s := apiservertest.New(t)
	for form, config := range forms(s) {
		t.Run(form, func(t *testing.T) {
			c := client(t, config)
			a := create(t, c, configMap("a-"+form, map[string]string{"form": form}))
			yes := true
			w, err := c.CoreV1().ConfigMaps("default").Watch(context.Background(), metav1.ListOptions{
				LabelSelector: "form=" + form, SendInitialEvents: &yes, AllowWatchBookmarks: true,
				ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			if got, want := name(next(t, w)), "ADDED "+a.Name; got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
			mark := next(t, w)
			if mark.Type != watch.Bookmark || mark.Object.(*corev1.ConfigMap).Annotations[metav1.InitialEventsAnnotationKey] != "true" {
				t.Fatalf("got %s, want the bookmark that ends the initial events", name(mark))
			}
			if mark.Object.(*corev1.ConfigMap).ResourceVersion < a.ResourceVersion {
				t.Fatalf("bookmark at %s, before %s", mark.Object.(*corev1.ConfigMap).ResourceVersion, a.ResourceVersion)
			}
		})
	}
}

// TestWatchSelectors: an object that begins to match is added, and one that ceases to is deleted, to those who select.
func TestWatchSelectors(t *testing.T) {
	s := apiservertest.New(t)
	c := client(t, s.Config)
	w, err := c.CoreV1().ConfigMaps("default").Watch(context.Background(), metav1.ListOptions{LabelSelector: "in=yes"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	cm := create(t, c, configMap("a", map[string]string{"in": "no"}))
	for _, step := range []struct{ value, want string }{{"yes", "ADDED a"}, {"yes", ""}, {"no", "DELETED a"}, {"yes", "ADDED a"}} {
		cm.Labels["in"] = step.value
		cm.Data["step"] = step.want
		if cm, err = c.CoreV1().ConfigMaps("default").Update(context.Background(), cm, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		want := step.want
		if want == "" {
			want = "MODIFIED a"
		}
		e := next(t, w)
		if got := name(e); got != want {
			t.Fatalf("in=%s: got %s, want %s", step.value, got, want)
		}
		if got := e.Object.(*corev1.ConfigMap).ResourceVersion; got != cm.ResourceVersion {
			t.Fatalf("%s carries version %s, want the change's, %s", want, got, cm.ResourceVersion)
		}
	}
}

// TestWatchAfterRestart: a revision from before the server started cannot be watched from, and the client is told to list again.
func TestWatchAfterRestart(t *testing.T) {
	store := memory.New()
	first := apiservertest.New(t, apiservertest.Options{Store: store})
	old := create(t, client(t, first.Config), configMap("a", nil))
	create(t, client(t, first.Config), configMap("b", nil))
	first.Stop()
	second := apiservertest.New(t, apiservertest.Options{Store: store})
	c := client(t, second.Config)
	w, err := c.CoreV1().ConfigMaps("default").Watch(context.Background(), metav1.ListOptions{ResourceVersion: old.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	e := next(t, w)
	if e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
		t.Fatalf("got %s (%v), want an error that says expired", name(e), e.Object)
	}
	list, err := c.CoreV1().ConfigMaps("default").List(context.Background(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 2 {
		t.Fatalf("list after the restart: %v, %d items, want 2", err, len(list.Items))
	}
	w2, err := c.CoreV1().ConfigMaps("default").Watch(context.Background(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w2.Stop()
	create(t, c, configMap("c", nil))
	if got := name(next(t, w2)); got != "ADDED c" {
		t.Fatalf("got %s, want ADDED c", got)
	}
}

func TestWatchTimeout(t *testing.T) {
	s := apiservertest.New(t)
	one := int64(1)
	w, err := client(t, s.Config).CoreV1().Pods("").Watch(context.Background(), metav1.ListOptions{TimeoutSeconds: &one})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	select {
	case e, ok := <-w.ResultChan():
		if ok {
			t.Fatalf("got %s, want the end", name(e))
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the watch did not end after its timeout")
	}
}

func TestWatchTable(t *testing.T) {
	s := apiservertest.New(t)
	c := client(t, s.Config)
	transport, err := rest.TransportFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	create(t, c, configMap("a", nil))
	req, _ := http.NewRequest(http.MethodGet, s.Config.Host+"/api/v1/namespaces/default/configmaps?watch=true", nil)
	req.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i, want := range []string{"a", "b"} {
		if i == 1 {
			create(t, c, configMap("b", nil))
		}
		if !lines.Scan() {
			t.Fatalf("no frame: %v", lines.Err())
		}
		var frame struct {
			Type   string
			Object metav1.Table
		}
		if err := json.Unmarshal(lines.Bytes(), &frame); err != nil {
			t.Fatalf("frame %s: %v", lines.Text(), err)
		}
		if frame.Type != "ADDED" || frame.Object.Kind != "Table" || len(frame.Object.Rows) != 1 || frame.Object.Rows[0].Cells[0] != want {
			t.Fatalf("frame %d: %s", i, lines.Text())
		}
		if headers := len(frame.Object.ColumnDefinitions) > 0; headers != (i == 0) {
			t.Fatalf("frame %d has headers: %v; only the first has them", i, headers)
		}
		if !strings.Contains(string(frame.Object.Rows[0].Object.Raw), `"PartialObjectMetadata"`) {
			t.Fatalf("frame %d lacks the object's metadata: %s", i, lines.Text())
		}
	}
}

func TestPartialMetadata(t *testing.T) {
	s := apiservertest.New(t)
	create(t, client(t, s.Config), configMap("a", map[string]string{"x": "y"}))
	m, err := metadata.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	maps := m.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace("default")
	list, err := maps.List(context.Background(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Labels["x"] != "y" || list.ResourceVersion == "" {
		t.Fatalf("list: %v, %+v", err, list)
	}
	w, err := maps.Watch(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if got := name(next(t, w)); got != "ADDED a" {
		t.Fatalf("got %s, want ADDED a", got)
	}
}

func TestListPages(t *testing.T) {
	s := apiservertest.New(t)
	for form, config := range forms(s) {
		t.Run(form, func(t *testing.T) { testPages(t, client(t, config), form) })
	}
}

func testPages(t *testing.T, c *kubernetes.Clientset, form string) {
	ctx := context.Background()
	namespace := "pages-" + form
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	maps := c.CoreV1().ConfigMaps(namespace)
	for i := range 5 {
		if _, err := maps.Create(ctx, configMap(fmt.Sprintf("m%d", i), nil), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	first, err := maps.List(ctx, metav1.ListOptions{Limit: 2})
	if err != nil || len(first.Items) != 2 || first.Continue == "" || first.RemainingItemCount == nil || *first.RemainingItemCount != 3 {
		t.Fatalf("first page: %v, %+v", err, first)
	}
	// What is written between two pages does not show.
	if err := maps.Delete(ctx, "m3", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	second, err := maps.List(ctx, metav1.ListOptions{Limit: 10, Continue: first.Continue})
	if err != nil || len(second.Items) != 3 || second.Continue != "" || second.ResourceVersion != first.ResourceVersion {
		t.Fatalf("second page: %v, %+v", err, second)
	}
	exact, err := maps.List(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if err != nil || len(exact.Items) != 5 {
		t.Fatalf("list at %s exactly: %v, %d items, want 5", first.ResourceVersion, err, len(exact.Items))
	}
	now, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil || len(now.Items) != 4 {
		t.Fatalf("list now: %v, %d items, want 4", err, len(now.Items))
	}
	for _, path := range []string{"configmaps", "configmaps/m1"} {
		err = c.CoreV1().RESTClient().Get().Namespace(namespace).Suffix(path).Param("resourceVersion", "999999").MaxRetries(0).Do(ctx).Error()
		if !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
			t.Fatalf("%s at a version to come: %v, want a timeout that says so", path, err)
		}
	}
}

func TestListExpired(t *testing.T) {
	store := memory.New()
	s := apiservertest.New(t, apiservertest.Options{Store: store})
	c := client(t, s.Config)
	create(t, c, configMap("a", nil))
	create(t, c, configMap("b", nil))
	first, err := c.CoreV1().ConfigMaps("default").List(context.Background(), metav1.ListOptions{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	last, err := store.Revision(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Create(context.Background(), "/registry/other", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := store.Compact(context.Background(), last+1); err != nil {
		t.Fatal(err)
	}
	again := client(t, apiservertest.New(t, apiservertest.Options{Store: store}).Config)
	_, err = again.CoreV1().ConfigMaps("default").List(context.Background(), metav1.ListOptions{Limit: 1, Continue: first.Continue})
	if !apierrors.IsResourceExpired(err) {
		t.Fatalf("continue after compaction: %v, want expired", err)
	}
	status := err.(apierrors.APIStatus).Status()
	rest, err := again.CoreV1().ConfigMaps("default").List(context.Background(), metav1.ListOptions{Limit: 5, Continue: status.Continue})
	if err != nil || len(rest.Items) == 0 || rest.Items[0].Name != "b" {
		t.Fatalf("continue inconsistently: %v, %+v", err, rest)
	}
}
