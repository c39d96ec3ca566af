package apiserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/kinds/untyped"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

var cups = schema.GroupVersionResource{Group: "tea.example.org", Version: "v1", Resource: "cups"}

// cupKind is a custom kind with everything that one can have.
func cupKind(t testing.TB, change ...func(*untyped.Config)) *registry.Kind {
	t.Helper()
	c := untyped.Config{
		GVK: cups.GroupVersion().WithKind("Cup"), Resource: "cups", Singular: "cup", ShortNames: []string{"cu"}, Namespaced: true, Status: true,
		Columns: []untyped.Column{
			{TableColumnDefinition: metav1.TableColumnDefinition{Name: "Size", Type: "integer"}, Path: ".spec.size"},
			{TableColumnDefinition: metav1.TableColumnDefinition{Name: "Color", Type: "string"}, Path: ".spec.color"},
		},
		Selectable: []string{".spec.color"},
		Prune: func(obj *unstructured.Unstructured) (unknown []string) {
			spec, _, _ := unstructured.NestedMap(obj.Object, "spec")
			for key := range spec {
				if key != "size" && key != "color" && key != "lid" {
					unstructured.RemoveNestedField(obj.Object, "spec", key)
					unknown = append(unknown, "spec."+key)
				}
			}
			return unknown
		},
		Validate: func(obj, _ *unstructured.Unstructured) field.ErrorList {
			if size, _, _ := unstructured.NestedInt64(obj.Object, "spec", "size"); size < 0 {
				return field.ErrorList{field.Invalid(field.NewPath("spec", "size"), size, "must not be negative")}
			}
			return nil
		},
	}
	for _, f := range change {
		f(&c)
	}
	kind, err := untyped.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return kind
}

func serve(t testing.TB, s *apiservertest.Server, rows ...*registry.Kind) {
	t.Helper()
	_, err := s.Registry().Update(t.Context(), func(have []*registry.Kind) ([]*registry.Kind, error) { return append(have, rows...), nil })
	if err != nil {
		t.Fatal(err)
	}
}

// withdraw takes the resource's rows away, in every version.
func withdraw(t testing.TB, s *apiservertest.Server, resource schema.GroupVersionResource) {
	t.Helper()
	_, err := s.Registry().Update(t.Context(), func(have []*registry.Kind) ([]*registry.Kind, error) {
		return slices.DeleteFunc(have, func(k *registry.Kind) bool { return k.GVR().GroupResource() == resource.GroupResource() }), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func cup(name string, size int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "tea.example.org/v1", "kind": "Cup", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"size": size, "color": "white"},
	}}
}

func dynamicClient(t testing.TB, config *rest.Config) dynamic.NamespaceableResourceInterface {
	t.Helper()
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c.Resource(cups)
}

// TestUntypedKind: a kind without a Go type goes the way of all others.
func TestUntypedKind(t *testing.T) {
	s := apiservertest.New(t)
	serve(t, s, cupKind(t))
	c := dynamicClient(t, s.Config).Namespace("default")
	ctx := t.Context()

	made, err := c.Create(ctx, cup("blue", 2), metav1.CreateOptions{FieldManager: "maker"})
	if err != nil {
		t.Fatal(err)
	}
	if made.GetUID() == "" || made.GetGeneration() != 1 || made.GetResourceVersion() == "" || len(made.GetManagedFields()) != 1 {
		t.Errorf("made %v", made.Object)
	}
	got, err := c.Get(ctx, "blue", metav1.GetOptions{})
	if err != nil || got.GetResourceVersion() != made.GetResourceVersion() {
		t.Errorf("got %v, %v", got, err)
	}
	list, err := c.List(ctx, metav1.ListOptions{FieldSelector: "spec.color=white"})
	if err != nil || len(list.Items) != 1 || list.GetKind() != "CupList" || list.Items[0].GetResourceVersion() != made.GetResourceVersion() {
		t.Errorf("list %v, %v", list, err)
	}
	if list, err = c.List(ctx, metav1.ListOptions{FieldSelector: "spec.color=black"}); err != nil || len(list.Items) != 0 {
		t.Errorf("black ones %v, %v", list, err)
	}
	if _, err = c.List(ctx, metav1.ListOptions{FieldSelector: "spec.size=2"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a selector of a field that cannot be selected: %v", err)
	}

	got.Object["status"] = map[string]any{"full": true}
	if err := unstructured.SetNestedField(got.Object, int64(3), "spec", "size"); err != nil {
		t.Fatal(err)
	}
	updated, err := c.Update(ctx, got, metav1.UpdateOptions{})
	if err != nil || updated.GetGeneration() != 2 || updated.Object["status"] != nil {
		t.Errorf("updated %v, %v", updated, err)
	}
	again, err := c.Update(ctx, updated, metav1.UpdateOptions{})
	if err != nil || again.GetResourceVersion() != updated.GetResourceVersion() {
		t.Errorf("an update that changes nothing was written: %v, %v", again, err)
	}
	updated.Object["status"] = map[string]any{"full": true}
	unstructured.RemoveNestedField(updated.Object, "spec", "color")
	status, err := c.UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	full, _, _ := unstructured.NestedBool(status.Object, "status", "full")
	color, _, _ := unstructured.NestedString(status.Object, "spec", "color")
	if err != nil || !full || color != "white" || status.GetGeneration() != 2 {
		t.Errorf("status %v, %v", status.Object, err)
	}
	if _, err := c.Update(ctx, made, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old version: %v", err)
	}

	for _, p := range []struct {
		form types.PatchType
		text string
		size int64
	}{
		{types.MergePatchType, `{"spec":{"size":4}}`, 4},
		{types.JSONPatchType, `[{"op":"replace","path":"/spec/size","value":5}]`, 5},
	} {
		patched, err := c.Patch(ctx, "blue", p.form, []byte(p.text), metav1.PatchOptions{})
		if err != nil {
			t.Fatalf("%s: %v", p.form, err)
		}
		if size, _, _ := unstructured.NestedInt64(patched.Object, "spec", "size"); size != p.size {
			t.Errorf("%s: size %d, want %d", p.form, size, p.size)
		}
	}
	if _, err := c.Patch(ctx, "blue", types.StrategicMergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("a strategic merge patch: %v", err)
	}
	if _, err := c.Patch(ctx, "blue", types.MergePatchType, []byte(`{"spec":{"size":-1}}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an invalid size: %v", err)
	}
	if _, err := c.Patch(ctx, "blue", types.MergePatchType, []byte(`{"spec":{"handle":true}}`), metav1.PatchOptions{FieldValidation: "Strict"}); err == nil || !strings.Contains(err.Error(), `unknown field "spec.handle"`) {
		t.Errorf("an unknown field: %v", err)
	}
	wrong := cup("wrong", 1)
	wrong.Object["spec"].(map[string]any)["handle"] = true
	if _, err := c.Create(ctx, wrong, metav1.CreateOptions{FieldValidation: "Strict"}); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `unknown field "spec.handle"`) {
		t.Errorf("an unknown field: %v", err)
	}
	pruned, err := c.Create(ctx, wrong, metav1.CreateOptions{DryRun: []string{"All"}})
	if _, has, _ := unstructured.NestedBool(pruned.Object, "spec", "handle"); err != nil || has {
		t.Errorf("not pruned: %v, %v", pruned, err)
	}
	if _, err := c.Get(ctx, "wrong", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run was stored: %v", err)
	}
}

// TestUntypedApply: fields have owners in kinds without a Go type, too.
func TestUntypedApply(t *testing.T) {
	s := apiservertest.New(t)
	serve(t, s, cupKind(t))
	c := dynamicClient(t, s.Config).Namespace("default")
	ctx := t.Context()
	a, err := c.Apply(ctx, "green", cup("green", 1), metav1.ApplyOptions{FieldManager: "a"})
	if err != nil {
		t.Fatal(err)
	}
	same, err := c.Apply(ctx, "green", cup("green", 1), metav1.ApplyOptions{FieldManager: "a"})
	if err != nil || same.GetResourceVersion() != a.GetResourceVersion() {
		t.Errorf("applying the same wrote: %v", err)
	}
	if _, err := c.Apply(ctx, "green", cup("green", 2), metav1.ApplyOptions{FieldManager: "b"}); !apierrors.IsConflict(err) {
		t.Errorf("another's field: %v", err)
	}
	forced, err := c.Apply(ctx, "green", cup("green", 2), metav1.ApplyOptions{FieldManager: "b", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if size, _, _ := unstructured.NestedInt64(forced.Object, "spec", "size"); size != 2 || len(forced.GetManagedFields()) != 2 {
		t.Errorf("forced %v", forced.Object)
	}
	only := cup("green", 2)
	unstructured.RemoveNestedField(only.Object, "spec", "color")
	if _, err := c.Apply(ctx, "green", only, metav1.ApplyOptions{FieldManager: "b"}); err != nil {
		t.Fatal(err)
	}
	left, err := c.Apply(ctx, "green", only, metav1.ApplyOptions{FieldManager: "a", Force: true})
	if _, has, _ := unstructured.NestedString(left.Object, "spec", "color"); err != nil || has {
		t.Errorf("a field that nobody applies any more stayed: %v, %v", left.Object, err)
	}
}

func TestUntypedTableAndForms(t *testing.T) {
	s := apiservertest.New(t)
	serve(t, s, cupKind(t))
	if _, err := dynamicClient(t, s.Config).Namespace("default").Create(t.Context(), cup("red", 7), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	code, body := ask(t, s, "GET", "/apis/tea.example.org/v1/namespaces/default/cups", "application/json;as=Table;v=v1;g=meta.k8s.io", "")
	var table metav1.Table
	if err := json.Unmarshal([]byte(body), &table); err != nil || code != 200 {
		t.Fatalf("%d %s: %v", code, body, err)
	}
	if got := fmt.Sprint(table.Rows[0].Cells); got != "[red 7 white]" || table.ColumnDefinitions[1].Name != "Size" {
		t.Errorf("cells %s, columns %v", got, table.ColumnDefinitions)
	}
	for accept, want := range map[string]int{
		"application/vnd.kubernetes.protobuf":                   406,
		"application/vnd.kubernetes.protobuf, application/json": 200,
		"application/yaml": 200,
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io": 200,
	} {
		if code, body := ask(t, s, "GET", "/apis/tea.example.org/v1/cups", accept, ""); code != want {
			t.Errorf("%s: %d, want %d: %s", accept, code, want, body)
		}
	}
	twice := `{"apiVersion":"tea.example.org/v1","kind":"Cup","metadata":{"name":"x"},"spec":{"size":1,"size":2}}`
	if code, body := ask(t, s, "POST", "/apis/tea.example.org/v1/namespaces/default/cups?fieldValidation=Strict", "application/json", twice); code != 400 || !strings.Contains(body, `duplicate field \"spec.size\"`) {
		t.Errorf("a field that is there twice: %d %s", code, body)
	}
}

// ask speaks plain HTTP.
func ask(t testing.TB, s *apiservertest.Server, method, path, accept, body string) (int, string) {
	t.Helper()
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.Config.Host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	answer, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// TestAKindGoes: what its clients see, and that it can come back.
func TestAKindGoes(t *testing.T) {
	s := apiservertest.New(t)
	serve(t, s, cupKind(t))
	c := dynamicClient(t, s.Config).Namespace("default")
	ctx := t.Context()
	made, err := c.Create(ctx, cup("blue", 2), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Watch(ctx, metav1.ListOptions{ResourceVersion: made.GetResourceVersion()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	others, err := client(t, s.Config).CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer others.Stop()
	found := func() bool {
		d, err := discovery.NewDiscoveryClientForConfig(s.Config)
		if err != nil {
			t.Fatal(err)
		}
		groups, _, err := d.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(groups, func(g *metav1.APIGroup) bool { return g.Name == "tea.example.org" })
	}
	if !found() {
		t.Error("discovery does not know the kind")
	}

	withdraw(t, s, cups)
	select {
	case e, more := <-w.ResultChan():
		if more {
			t.Errorf("the watch ended with %v, want a plain end", e)
		}
	case <-time.After(10 * time.Second):
		t.Error("the watch of a kind that went goes on")
	}
	if _, err := c.Get(ctx, "blue", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get: %v", err)
	}
	if _, err := c.Create(ctx, cup("red", 1), metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("create: %v", err)
	}
	if found() {
		t.Error("discovery still knows the kind")
	}
	cm := create(t, client(t, s.Config), configMap("bystander", nil))
	for e := range others.ResultChan() {
		if e.Type == watch.Error {
			t.Fatalf("a watch of another kind ended: %v", e)
		}
		if m, ok := e.Object.(*corev1.ConfigMap); ok && m.Name == cm.Name {
			break
		}
	}

	serve(t, s, cupKind(t))
	if got, err := c.Get(ctx, "blue", metav1.GetOptions{}); err != nil || got.GetResourceVersion() != made.GetResourceVersion() {
		t.Errorf("after it came back: %v, %v", got, err)
	}
}

// TestAKindChanges: the same resource in another form; those who watch begin anew.
func TestAKindChanges(t *testing.T) {
	s := apiservertest.New(t)
	serve(t, s, cupKind(t))
	c := dynamicClient(t, s.Config).Namespace("default")
	ctx := t.Context()
	if _, err := c.Create(ctx, cup("blue", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	changed := cupKind(t, func(c *untyped.Config) {
		c.Default = func(obj *unstructured.Unstructured) {
			if _, has, _ := unstructured.NestedBool(obj.Object, "spec", "lid"); !has {
				_ = unstructured.SetNestedField(obj.Object, false, "spec", "lid")
			}
		}
	})
	_, err := s.Registry().Update(ctx, func(rows []*registry.Kind) ([]*registry.Kind, error) {
		for i := range rows {
			if rows[i].GVR() == cups {
				rows[i] = changed
			}
		}
		return rows, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Get(ctx, "blue", metav1.GetOptions{})
	if _, has, _ := unstructured.NestedBool(got.Object, "spec", "lid"); err != nil || !has {
		t.Errorf("what was stored before is read without the new default: %v, %v", got.Object, err)
	}
}

// TestVersions: two versions of a kind, one of them stored, with a conversion that may fail.
func TestVersions(t *testing.T) {
	s := apiservertest.New(t)
	convert := func(_ context.Context, objs []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error) {
		var out []*unstructured.Unstructured
		for _, obj := range objs {
			made := obj.DeepCopy()
			from := obj.GroupVersionKind().Version
			if size, has, _ := unstructured.NestedInt64(obj.Object, "spec", "size"); has && from == "v1" && to.Version == "v2" {
				if size == 13 {
					return nil, fmt.Errorf("thirteen cannot be converted")
				}
				unstructured.RemoveNestedField(made.Object, "spec", "size")
				_ = unstructured.SetNestedField(made.Object, size*100, "spec", "milliliters")
			}
			if ml, has, _ := unstructured.NestedInt64(obj.Object, "spec", "milliliters"); has && from == "v2" && to.Version == "v1" {
				unstructured.RemoveNestedField(made.Object, "spec", "milliliters")
				_ = unstructured.SetNestedField(made.Object, ml/100, "spec", "size")
			}
			made.SetAPIVersion(to.String())
			out = append(out, made)
		}
		return out, nil
	}
	second := cupKind(t, func(c *untyped.Config) {
		c.GVK.Version, c.StorageVersion, c.Convert, c.Prune, c.Columns, c.Selectable = "v2", "v1", convert, nil, nil, nil
	})
	serve(t, s, cupKind(t), second)
	d, err := dynamic.NewForConfig(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	v1 := d.Resource(cups).Namespace("default")
	v2 := d.Resource(cups.GroupResource().WithVersion("v2")).Namespace("default")
	if _, err := v1.Create(ctx, cup("blue", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := v2.Get(ctx, "blue", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ml, _, _ := unstructured.NestedInt64(got.Object, "spec", "milliliters"); ml != 200 || got.GetAPIVersion() != "tea.example.org/v2" {
		t.Errorf("as v2: %v", got.Object)
	}
	_ = unstructured.SetNestedField(got.Object, int64(500), "spec", "milliliters")
	if _, err := v2.Update(ctx, got, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	back, err := v1.Get(ctx, "blue", metav1.GetOptions{})
	if size, _, _ := unstructured.NestedInt64(back.Object, "spec", "size"); err != nil || size != 5 {
		t.Errorf("as v1: %v, %v", back.Object, err)
	}
	w, err := v2.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := next(t, w); e.Object.(*unstructured.Unstructured).GetAPIVersion() != "tea.example.org/v2" {
		t.Errorf("watched %v", e.Object)
	}
	if _, err := v1.Create(ctx, cup("unlucky", 13), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"get":  fault(v2.Get(ctx, "unlucky", metav1.GetOptions{})),
		"list": fault(v2.List(ctx, metav1.ListOptions{})),
	} {
		if err == nil || !strings.Contains(err.Error(), "thirteen cannot be converted") {
			t.Errorf("%s of what cannot be converted: %v", what, err)
		}
	}
	if _, err := v1.List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("list in the stored version: %v", err)
	}
}

func fault[T any](_ T, err error) error { return err }

// TestKindsThatAreNotStored: a question, and another server.
func TestKindsThatAreNotStored(t *testing.T) {
	s := apiservertest.New(t)
	question := &registry.Kind{
		GVK:      schema.GroupVersionKind{Group: "ask.example.org", Version: "v1", Kind: "SelfSubjectReview"},
		Resource: "selfsubjectreviews", Singular: "selfsubjectreview", Verbs: []string{"create"}, Storage: registry.Virtual,
		New: func() registry.Object { return &authenticationv1.SelfSubjectReview{} },
		Answer: func(_ context.Context, from registry.Asker, obj registry.Object) (registry.Object, error) {
			obj.(*authenticationv1.SelfSubjectReview).Status.UserInfo = from.User
			return obj, nil
		},
	}
	elsewhere := &registry.Kind{
		GVK:      schema.GroupVersionKind{Group: "far.example.org", Version: "v1", Kind: "Star"},
		Resource: "stars", Singular: "star", Storage: registry.Proxied,
		Proxy: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { fmt.Fprintf(w, "star at %s", req.URL.Path) }),
	}
	serve(t, s, question, elsewhere)
	code, body := ask(t, s, "POST", "/apis/ask.example.org/v1/selfsubjectreviews", "application/json", `{"apiVersion":"ask.example.org/v1","kind":"SelfSubjectReview"}`)
	if code != 201 || !strings.Contains(body, `"username":"admin"`) || !strings.Contains(body, `"kind":"SelfSubjectReview"`) {
		t.Errorf("answer %d %s", code, body)
	}
	if code, _ := ask(t, s, "GET", "/apis/ask.example.org/v1/selfsubjectreviews", "application/json", ""); code != 405 {
		t.Errorf("list of questions: %d, want 405", code)
	}
	if code, body := ask(t, s, "GET", "/apis/far.example.org/v1/stars/vega/light", "application/json", ""); code != 200 || body != "star at /apis/far.example.org/v1/stars/vega/light" {
		t.Errorf("proxied: %d %s", code, body)
	}
	stranger := s.Client(t, "nobody")
	c, err := rest.HTTPClientFor(stranger)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Get(stranger.Host + "/apis/far.example.org/v1/stars")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger reached the other server: %d", answer.StatusCode)
	}
}
