package apiserver_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/storage/memory"
	"github.com/cuppa-project/cuppa/apiserver/storage/storagetest"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

var lost = errkind.New(errkind.Unavailable, "the store does not answer")

// faulty is a server on a store that goes wrong as it is told.
func faulty(t *testing.T) (*apiservertest.Server, *storagetest.Faulty) {
	t.Helper()
	store := storagetest.NewFaulty(memory.New())
	return apiservertest.New(t, apiservertest.Options{Store: store}), store
}

const mapsPrefix = "/registry/configmaps/"

// TestWritesThatFail: what the client is told of a write that the store refuses, and that nobody sees anything of it.
func TestWritesThatFail(t *testing.T) {
	s, store := faulty(t)
	c := client(t, s.Config)
	maps := c.CoreV1().ConfigMaps("default")
	create(t, c, configMap("there", nil))
	changed := configMap("there", map[string]string{"a": "b"})
	patch := []byte(`{"metadata":{"labels":{"a":"b"}}}`)
	calls := []struct {
		name string
		call func() error
	}{
		{"create", func() error { _, err := maps.Create(ctx, configMap("new", nil), metav1.CreateOptions{}); return err }},
		{"update", func() error { _, err := maps.Update(ctx, changed, metav1.UpdateOptions{}); return err }},
		{"patch", func() error {
			_, err := maps.Patch(ctx, "there", types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		}},
		{"apply", func() error {
			_, err := maps.Patch(ctx, "there", types.ApplyYAMLPatchType, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {labels: {a: b}}\n"), metav1.PatchOptions{FieldManager: "m"})
			return err
		}},
		{"delete", func() error { return maps.Delete(ctx, "there", metav1.DeleteOptions{}) }},
		{"delete many", func() error { return maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}) }},
	}
	for _, fault := range []struct {
		err  error
		code int32
	}{
		{lost, 503},
		{errkind.New(errkind.Exhausted, "the store is full"), 500},
		{errkind.New(errkind.Invalid, "the value is too large"), 413},
	} {
		for _, c := range calls {
			end := store.Inject(storagetest.Fault{Op: storagetest.Write, Prefix: mapsPrefix, Err: fault.err})
			err := c.call()
			end()
			var status apierrors.APIStatus
			if !errors.As(err, &status) || status.Status().Code != fault.code || !strings.Contains(err.Error(), fault.err.Error()) {
				t.Errorf("%s, when the store says %q: %v, want code %d and the store's words", c.name, fault.err, err, fault.code)
			}
		}
	}
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "there" || len(list.Items[0].Labels) != 0 {
		t.Errorf("after writes that failed: %+v, %v, want one object as it was", list.Items, err)
	}
}

// TestLostAnswer: a write that happened although the client was told otherwise is seen by all, and its repetition says so.
func TestLostAnswer(t *testing.T) {
	s, store := faulty(t)
	c := client(t, s.Config)
	maps := c.CoreV1().ConfigMaps("default")
	w, err := maps.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	store.Inject(storagetest.Fault{Op: storagetest.Create, Prefix: mapsPrefix, Times: 1, Err: lost, Done: true})
	if _, err := maps.Create(ctx, configMap("a", nil), metav1.CreateOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Fatalf("create: %v, want unavailable", err)
	}
	if got := name(next(t, w)); got != "ADDED a" {
		t.Errorf("the watch says %s", got)
	}
	if _, err := maps.Create(ctx, configMap("a", nil), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("the repetition: %v, want that it exists", err)
	}
	got, err := maps.Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got.Labels = map[string]string{"x": "y"}
	store.Inject(storagetest.Fault{Op: storagetest.Update, Prefix: mapsPrefix, Times: 1, Err: lost, Done: true})
	if _, err := maps.Update(ctx, got, metav1.UpdateOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Fatalf("update: %v, want unavailable", err)
	}
	if _, err := maps.Update(ctx, got, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("the repetition with the old version: %v, want a conflict", err)
	}
	// The server must not repeat such a write by itself: this patch fits only once.
	store.Inject(storagetest.Fault{Op: storagetest.Update, Prefix: mapsPrefix, Times: 1, Err: lost, Done: true})
	once := []byte(`[{"op":"move","from":"/data/k","path":"/data/l"}]`)
	if _, err := maps.Patch(ctx, "a", types.JSONPatchType, once, metav1.PatchOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("patch: %v, want unavailable", err)
	}
}

// TestConflicts: somebody else is faster. Writes without a version are tried again until they fit; one that names a version is not.
func TestConflicts(t *testing.T) {
	s, store := faulty(t)
	c := client(t, s.Config)
	maps := c.CoreV1().ConfigMaps("default")
	made := create(t, c, configMap("a", nil))
	conflict := storagetest.Fault{Op: storagetest.Update, Prefix: mapsPrefix, Times: 3, Err: errkind.New(errkind.Conflict, "another revision")}
	store.Inject(conflict)
	for i := range 2 {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"n":"%d"}}}`, i)
		if _, err := maps.Patch(ctx, "a", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Errorf("patch %d: %v", i, err)
		}
	}
	if got, err := maps.Get(ctx, "a", metav1.GetOptions{}); err != nil || got.Labels["n"] != "1" {
		t.Errorf("after the patches: %v, %v", got.Labels, err)
	}
	made.Labels = map[string]string{"n": "old"}
	if _, err := maps.Update(ctx, made, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of an old version: %v, want a conflict", err)
	}
	store.Inject(storagetest.Fault{Op: storagetest.Delete, Prefix: mapsPrefix, Times: 2, Err: conflict.Err})
	if err := maps.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete while others write: %v", err)
	}
}

// TestDryRunAsksTheStore: a dry run promises what the real call would do, so it cannot promise anything when the store does not answer.
func TestDryRunAsksTheStore(t *testing.T) {
	s, store := faulty(t)
	maps := client(t, s.Config).CoreV1().ConfigMaps("default")
	end := store.Inject(storagetest.Fault{Op: storagetest.Get, Prefix: mapsPrefix, Err: lost})
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if _, err := maps.Create(ctx, configMap("a", nil), dry); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("dry run while the store does not answer: %v, want unavailable", err)
	}
	end()
	if _, err := maps.Create(ctx, configMap("a", nil), dry); err != nil {
		t.Errorf("dry run: %v", err)
	}
}

// TestFailedCreationGivesBack: an address or port that was set aside for a Service that could not be stored is free again.
func TestFailedCreationGivesBack(t *testing.T) {
	s, store := faulty(t)
	services := client(t, s.Config).CoreV1().Services("default")
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort,
		ClusterIP: "10.96.7.7", Ports: []corev1.ServicePort{{Port: 80, NodePort: 30077}}}}
	store.Inject(storagetest.Fault{Op: storagetest.Create, Prefix: "/registry/services/", Times: 1, Err: lost})
	if _, err := services.Create(ctx, service, metav1.CreateOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Fatalf("create: %v, want unavailable", err)
	}
	if _, err := services.Create(ctx, service, metav1.CreateOptions{}); err != nil {
		t.Errorf("the same again: %v", err)
	}
}

// TestDroppedWatch: when the server has lost its watch of the store, its clients are told to begin anew, and so miss nothing.
func TestDroppedWatch(t *testing.T) {
	s, store := faulty(t)
	c := client(t, s.Config)
	maps := c.CoreV1().ConfigMaps("default")
	for i := range 3 {
		list, err := maps.List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != i {
			t.Fatalf("round %d begins with %d objects, %v", i, len(list.Items), err)
		}
		w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		store.DropWatches(errkind.New(errkind.Unavailable, "the connection to the store is lost"))
		create(t, c, configMap(fmt.Sprint("m", i), nil))
		e := next(t, w)
		if status, ok := e.Object.(*metav1.Status); !ok || !apierrors.IsResourceExpired(apierrors.FromObject(status)) {
			t.Fatalf("the watch says %s, want that what it began with has expired", name(e))
		}
		if e, more := <-w.ResultChan(); more {
			t.Errorf("after that the watch says %s", name(e))
		}
	}
}

// TestHeldWatch: as long as the server's memory lags behind, reads wait for it rather than tell what was.
func TestHeldWatch(t *testing.T) {
	s, store := faulty(t)
	c := client(t, s.Config)
	release := store.HoldWatches()
	create(t, c, configMap("a", nil))
	type answer struct {
		names int
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		list, err := c.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{LabelSelector: "none!=of-them"})
		answered <- answer{len(list.Items), err}
	}()
	release()
	if got := <-answered; got.err != nil || got.names != 1 {
		t.Errorf("a list after a write shows %d objects, %v, want 1", got.names, got.err)
	}
}

// TestDeleteManyAtOnce: the objects of a collection are deleted side by side, and after a fault no further delete begins.
func TestDeleteManyAtOnce(t *testing.T) {
	s, store := faulty(t)
	c := client(t, s.Config)
	maps := c.CoreV1().ConfigMaps("default")
	const many = 100
	for i := range many {
		create(t, c, configMap(fmt.Sprintf("m%02d", i), nil))
	}
	held, until := make(chan struct{}, many), make(chan struct{})
	end := store.Inject(storagetest.Fault{Op: storagetest.Delete, Prefix: mapsPrefix, Err: lost, Until: until, Held: held})
	answer := make(chan error, 1)
	go func() { answer <- maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}) }()
	<-held
	<-held // the second begins while the first still waits
	close(until)
	if err := <-answer; !apierrors.IsServiceUnavailable(err) {
		t.Errorf("with a store that does not answer: %v, want unavailable", err)
	}
	end()
	if begun := strings.Count(store.String(), "delete "+mapsPrefix); begun >= many {
		t.Errorf("%d deletes began, want that they stop after the first fault", begun)
	}
	if left, err := maps.List(ctx, metav1.ListOptions{}); err != nil || len(left.Items) != many {
		t.Errorf("after deletes that failed: %d objects, %v, want %d", len(left.Items), err, many)
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if left, err := maps.List(ctx, metav1.ListOptions{}); err != nil || len(left.Items) != 0 {
		t.Errorf("after the delete: %d objects, %v, want none", len(left.Items), err)
	}
}
