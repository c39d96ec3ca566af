package openapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/gnostic-models/openapiv2"
	"github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds"
	"github.com/cuppa-project/cuppa/apiserver/openapi"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func get(t *testing.T, path string, headers ...string) *http.Response {
	t.Helper()
	h, err := openapi.New(registry.New(kinds.All()))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func read(t *testing.T, r *http.Response) []byte {
	t.Helper()
	content, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestEveryGroupVersionHasADocument(t *testing.T) {
	var list struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal(read(t, get(t, "/openapi/v3")), &list); err != nil {
		t.Fatal(err)
	}
	if got, want := len(list.Paths), len(kinds.All().GroupVersions()); got != want {
		t.Errorf("%d documents listed, want %d", got, want)
	}
	for path, doc := range list.Paths {
		t.Run(path, func(t *testing.T) {
			r := get(t, doc.ServerRelativeURL)
			if r.StatusCode != 200 || r.Header.Get("Cache-Control") != "public, immutable" || r.Header.Get("ETag") == "" {
				t.Fatalf("status %d, headers %v", r.StatusCode, r.Header)
			}
			var spec struct {
				OpenAPI string
				Paths   map[string]map[string]json.RawMessage
			}
			if err := json.Unmarshal(read(t, r), &spec); err != nil {
				t.Fatal(err)
			}
			if spec.OpenAPI != "3.0.0" || len(spec.Paths) == 0 {
				t.Errorf("version %q with %d paths", spec.OpenAPI, len(spec.Paths))
			}
			if r := get(t, "/openapi/v3/"+path, "If-None-Match", r.Header.Get("ETag")); r.StatusCode != http.StatusNotModified {
				t.Errorf("status %d for a known ETag, want 304", r.StatusCode)
			}
			if r := get(t, "/openapi/v3/"+path+"?hash=0"); r.StatusCode != http.StatusMovedPermanently || r.Header.Get("Location") != doc.ServerRelativeURL {
				t.Errorf("status %d to %q for an old hash, want 301 to %q", r.StatusCode, r.Header.Get("Location"), doc.ServerRelativeURL)
			}
			binary := read(t, get(t, "/openapi/v3/"+path, "Accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"))
			if err := proto.Unmarshal(binary, &openapi_v3.Document{}); err != nil {
				t.Errorf("parse protobuf: %v", err)
			}
		})
	}
}

// kubectl looks here for the parameters of a PATCH before it trusts the server with validation and dry runs.
func TestPatchOperations(t *testing.T) {
	var spec struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(read(t, get(t, "/openapi/v3/apis/apps/v1")), &spec); err != nil {
		t.Fatal(err)
	}
	var op struct {
		Parameters []struct{ Name, In string }
		GVK        metav1.GroupVersionKind          `json:"x-kubernetes-group-version-kind"`
		Action     string                           `json:"x-kubernetes-action"`
		Body       struct{ Content map[string]any } `json:"requestBody"`
	}
	path := "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
	if err := json.Unmarshal(spec.Paths[path]["patch"], &op); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, p := range op.Parameters {
		names[p.Name] = p.In == "query"
	}
	for _, want := range []string{"dryRun", "fieldManager", "fieldValidation", "force"} {
		if !names[want] {
			t.Errorf("no query parameter %s in %v", want, op.Parameters)
		}
	}
	if op.GVK.Kind != "Deployment" || op.Action != "patch" || op.Body.Content["application/apply-patch+yaml"] == nil {
		t.Errorf("operation %+v", op)
	}
}

func TestV2(t *testing.T) {
	r := get(t, "/openapi/v2", "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
	if got := r.Header.Get("Content-Type"); got != "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" {
		t.Errorf("content type %q", got)
	}
	var doc openapi_v2.Document
	if err := proto.Unmarshal(read(t, r), &doc); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, d := range doc.GetDefinitions().GetAdditionalProperties() {
		found = found || d.GetName() == "io.k8s.api.core.v1.Pod"
	}
	if !found {
		t.Error("no definition of Pod")
	}
	if r := get(t, "/openapi/v2", "Accept-Encoding", "gzip"); r.Header.Get("Content-Encoding") != "gzip" {
		t.Error("a client that takes gzip got none")
	}
	if r := get(t, "/openapi/v2", "Accept", "text/html"); r.StatusCode != http.StatusNotAcceptable {
		t.Errorf("status %d for an unknown type, want 406", r.StatusCode)
	}
	if r := get(t, "/openapi/v3/apis/none/v1"); r.StatusCode != http.StatusNotFound {
		t.Errorf("status %d for an unknown group, want 404", r.StatusCode)
	}
}

func TestTypeConverterKnowsEveryKind(t *testing.T) {
	begin := time.Now()
	converter, err := openapi.TypeConverter()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("made in %v", time.Since(begin))
	for _, kind := range kinds.All().Kinds() {
		obj := kind.New()
		obj.GetObjectKind().SetGroupVersionKind(kind.GVK)
		value, err := converter.ObjectToTyped(obj)
		if err != nil {
			t.Errorf("%v: %v", kind.GVK, err)
			continue
		}
		if _, err := converter.TypedToObject(value); err != nil {
			t.Errorf("%v: %v", kind.GVK, err)
		}
	}
	if _, err := converter.ObjectToTyped(&corev1.Node{}); err == nil {
		t.Error("an object without kind was converted")
	}
}

// The keys of list maps are what makes two appliers of different containers not conflict.
func TestContainersMergeByName(t *testing.T) {
	converter, err := openapi.TypeConverter()
	if err != nil {
		t.Fatal(err)
	}
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: name, Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}}}}}}
	}
	a, err := converter.ObjectToTyped(pod("a"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := converter.ObjectToTyped(pod("b"))
	if err != nil {
		t.Fatal(err)
	}
	merged, err := a.Merge(b)
	if err != nil {
		t.Fatal(err)
	}
	set, err := merged.ToFieldSet()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].containerPort`, `.spec.containers[name="b"].name`} {
		if !strings.Contains(set.String(), want) {
			t.Errorf("no %s in %s", want, set)
		}
	}
}

func BenchmarkTypeConverter(b *testing.B) {
	for b.Loop() {
		if _, err := openapi.NewConverter(); err != nil {
			b.Fatal(err)
		}
	}
}
