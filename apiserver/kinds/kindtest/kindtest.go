// Package kindtest is the suite that every kind passes: whatever a client may do with an object, done over HTTP against a real server, and
// compared with what must come of it: values, resource versions, events. It knows no kind: a Fixture says what objects of it look like.
// Whoever adds a row adds a file to testdata. Start with Run, which is the list of what is asked.
package kindtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/apiserver/apiservertest"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Fixture is what the suite must know of a kind.
type Fixture struct {
	// Minimal and Full are valid objects: with what must be there, and with as much as there can be.
	Minimal, Full map[string]any
	// Status is a merge patch for the status subresource; needed if there is one. For a virtual kind, it is what every answer must have.
	Status map[string]any
	// Invalid is a merge patch that makes Minimal an object that is refused, at the field that is named.
	Invalid      map[string]any
	InvalidField string
	// LabelsCount is true of a kind whose labels are part of what is wished for: a change of them raises the generation.
	LabelsCount bool
}

// suite is one kind on one server.
type suite struct {
	*testing.T
	kind    *registry.Kind
	fixture Fixture
	client  *http.Client
	host    string
	watch   *stream
}

// Run asks everything of one kind. The server must serve it, and have nothing of it but what the server itself made.
func Run(t *testing.T, server *apiservertest.Server, kind *registry.Kind, fixture Fixture) {
	client, err := rest.HTTPClientFor(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{T: t, kind: kind, fixture: fixture, client: client, host: server.Config.Host}
	if fixture.Minimal == nil || fixture.Full == nil || (fixture.Invalid == nil) != (fixture.InvalidField == "") {
		t.Fatal("the fixture needs a minimal and a full object, and with an invalid one the field that makes it so")
	}
	switch {
	case kind.Storage == registry.Virtual:
		s.questions()
		return
	case kind.Storage == registry.Proxied:
		t.Skip("another server answers, which has its own tests")
	case fixture.Invalid == nil:
		t.Fatal("the fixture needs an invalid object")
	}
	for _, part := range []struct {
		name string
		run  func(*suite)
	}{
		{"create", (*suite).create},
		{"read", (*suite).read},
		{"forms", (*suite).forms},
		{"select", (*suite).selects},
		{"update", (*suite).update},
		{"patch", (*suite).patch},
		{"apply", (*suite).apply},
		{"status", (*suite).status},
		{"strictness", (*suite).strictness},
		{"invalid", (*suite).invalid},
		{"delete", (*suite).remove},
		{"finalizers", (*suite).finalizers},
		{"collection", (*suite).collection},
		{"full", (*suite).full},
		{"initial events", (*suite).initialEvents},
	} {
		t.Run(part.name, func(t *testing.T) {
			own := *s
			own.T = t
			own.watch = own.open("")
			defer own.watch.close()
			part.run(&own)
		})
	}
}

// namespace is where namespaced objects are made.
const namespace = "default"

// collectionPath and path are where the kind is served.
func (s *suite) collectionPath() string {
	gv := s.kind.GVK.GroupVersion()
	root := "/apis/" + gv.String()
	if gv.Group == "" {
		root = "/api/" + gv.Version
	}
	if s.kind.Namespaced {
		root += "/namespaces/" + namespace
	}
	return root + "/" + s.kind.Resource
}

func (s *suite) path(name string, more ...string) string {
	return strings.Join(append([]string{s.collectionPath(), name}, more...), "/")
}

// object is the minimal one under another name.
func (s *suite) object(name string) *unstructured.Unstructured {
	return s.from(s.fixture.Minimal, name)
}

func (s *suite) from(content map[string]any, name string) *unstructured.Unstructured {
	u := (&unstructured.Unstructured{Object: content}).DeepCopy()
	u.SetGroupVersionKind(s.kind.GVK)
	u.SetName(name)
	if s.kind.Namespaced {
		u.SetNamespace(namespace)
	}
	return u
}

// answer is what the server said.
type answer struct {
	code   int
	header http.Header
	raw    []byte
	object *unstructured.Unstructured // nil: it was no JSON object
}

func (a answer) message() string {
	if a.object == nil {
		return string(a.raw)
	}
	text, _, _ := unstructured.NestedString(a.object.Object, "message")
	return text
}

func (s *suite) do(method, path string, body any, headers ...string) answer {
	s.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	case *unstructured.Unstructured:
		text, err := b.MarshalJSON()
		if err != nil {
			s.Fatal(err)
		}
		content = bytes.NewReader(text)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			s.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(s.Context(), method, s.host+path, content)
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "suite")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	got, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer got.Body.Close()
	a := answer{code: got.StatusCode, header: got.Header}
	if a.raw, err = io.ReadAll(got.Body); err != nil {
		s.Fatal(err)
	}
	var u map[string]any
	if utiljson.Unmarshal(a.raw, &u) == nil { // whole numbers as such, as a watch decodes them
		a.object = &unstructured.Unstructured{Object: u}
	}
	return a
}

// want asks and holds the answer's code against the wanted one.
func (s *suite) want(code int, method, path string, body any, headers ...string) answer {
	s.Helper()
	a := s.do(method, path, body, headers...)
	if a.code != code {
		s.Fatalf("%s %s: %d, want %d: %s", method, path, a.code, code, a.message())
	}
	return a
}

// make creates the minimal object under a name.
func (s *suite) make(name string) *unstructured.Unstructured {
	s.Helper()
	return s.want(201, "POST", s.collectionPath(), s.object(name)).object
}

func revision(t testing.TB, u *unstructured.Unstructured) int64 {
	t.Helper()
	n, err := strconv.ParseInt(u.GetResourceVersion(), 10, 64)
	if err != nil {
		t.Fatalf("resource version %q: %v", u.GetResourceVersion(), err)
	}
	return n
}

// grown holds that a write was one: the object has a later version, and one event says so.
func (s *suite) grown(before, after *unstructured.Unstructured, event string) {
	s.Helper()
	if revision(s, after) <= revision(s, before) {
		s.Errorf("version %s after %s", after.GetResourceVersion(), before.GetResourceVersion())
	}
	s.event(event, after)
}

// event is the next that the kind's watch shows: of that type, with that very object.
func (s *suite) event(typ string, object *unstructured.Unstructured) {
	s.Helper()
	e := s.watch.next(s.T)
	if e.Type != typ || e.Object.GetName() != object.GetName() || e.Object.GetResourceVersion() != object.GetResourceVersion() {
		s.Fatalf("event %s of %s at %s, want %s of %s at %s", e.Type, e.Object.GetName(), e.Object.GetResourceVersion(),
			typ, object.GetName(), object.GetResourceVersion())
	}
	if typ == "DELETED" {
		return
	}
	if diff := cmp.Diff(object.Object, e.Object.Object); diff != "" {
		s.Errorf("the event shows another object than the answer did (-answer +event):\n%s", diff)
	}
}

// unwritten holds that nothing was written: the object is as it was. That there was no event, the next one shows.
func (s *suite) unwritten(before *unstructured.Unstructured) {
	s.Helper()
	now := s.want(200, "GET", s.path(before.GetName()), nil).object
	if diff := cmp.Diff(before.Object, now.Object); diff != "" {
		s.Errorf("it changed (-before +now):\n%s", diff)
	}
}

// within is true when every value of part is in whole too. Lists must be as long.
func within(part, whole any) string {
	switch p := part.(type) {
	case map[string]any:
		w, ok := whole.(map[string]any)
		if !ok {
			return fmt.Sprintf(": %v is not an object", whole)
		}
		for _, key := range slices.Sorted(maps.Keys(p)) {
			if fault := within(p[key], w[key]); fault != "" {
				return "." + key + fault
			}
		}
	case []any:
		w, ok := whole.([]any)
		if !ok || len(w) != len(p) {
			return fmt.Sprintf(": %v, want %v", whole, part)
		}
		for i := range p {
			if fault := within(p[i], w[i]); fault != "" {
				return "[" + strconv.Itoa(i) + "]" + fault
			}
		}
	default:
		if fmt.Sprint(part) != fmt.Sprint(whole) {
			return fmt.Sprintf(": %v, want %v", whole, part)
		}
	}
	return ""
}

// stream is a watch.
type stream struct {
	decoder *json.Decoder
	body    io.Closer
	events  chan watched
	cancel  context.CancelFunc
}

type watched struct {
	Type   string
	Object *unstructured.Unstructured
}

// open begins a watch of the collection, of what comes from now on unless the query says more.
func (s *suite) open(query string) *stream {
	s.Helper()
	if query == "" {
		list := s.want(200, "GET", s.collectionPath(), nil)
		version, _, _ := unstructured.NestedString(list.object.Object, "metadata", "resourceVersion")
		query = "resourceVersion=" + version
	}
	ctx, cancel := context.WithCancel(s.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", s.host+s.collectionPath()+"?watch=true&"+query, nil)
	if err != nil {
		s.Fatal(err)
	}
	got, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	if got.StatusCode != 200 {
		s.Fatalf("watch: %d", got.StatusCode)
	}
	w := &stream{decoder: json.NewDecoder(got.Body), body: got.Body, events: make(chan watched, 100), cancel: cancel}
	go func() {
		defer close(w.events)
		for {
			var e watched
			if w.decoder.Decode(&e) != nil {
				return
			}
			select {
			case w.events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return w
}

func (w *stream) next(t *testing.T) watched {
	t.Helper()
	select {
	case e, ok := <-w.events:
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event in 20 s")
	}
	return watched{}
}

func (w *stream) close() {
	w.cancel()
	w.body.Close()
}
