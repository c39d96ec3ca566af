package kindtest

import (
	"maps"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func (s *suite) create() {
	dry := s.want(201, "POST", s.collectionPath()+"?dryRun=All", s.object("created")).object
	if dry.GetUID() == "" || dry.GetResourceVersion() != "" {
		s.Errorf("a dry run answered with uid %q and version %q", dry.GetUID(), dry.GetResourceVersion())
	}
	s.want(404, "GET", s.path("created"), nil)
	wish := s.labelled(s.object("created"), "create")
	made := s.want(201, "POST", s.collectionPath(), wish).object
	if born := made.GetCreationTimestamp(); made.GetUID() == "" || born.IsZero() || made.GetDeletionTimestamp() != nil {
		s.Errorf("made with metadata %v", made.Object["metadata"])
	}
	if fault := within(wish.Object, made.Object); fault != "" {
		s.Errorf("what was made lacks something%s", fault)
	}
	fields := made.GetManagedFields()
	if len(fields) != 1 || fields[0].Manager != "suite" || fields[0].Operation != metav1.ManagedFieldsOperationUpdate {
		s.Errorf("fields are managed by %v", fields)
	}
	s.event("ADDED", made)
	s.want(409, "POST", s.collectionPath(), s.object("created"))
	s.want(409, "POST", s.collectionPath()+"?dryRun=All", s.object("created"))
	versioned := s.object("versioned")
	versioned.SetResourceVersion("1")
	if a := s.do("POST", s.collectionPath(), versioned); a.code < 400 {
		s.Errorf("created with a version of its own: %d", a.code)
	}
	s.elsewhere()
	generated := s.object("")
	generated.SetGenerateName("generated-")
	named := s.want(201, "POST", s.collectionPath(), generated).object
	if !strings.HasPrefix(named.GetName(), "generated-") || len(named.GetName()) != len("generated-")+5 {
		s.Errorf("generated name %q", named.GetName())
	}
	s.event("ADDED", named)
	if a := s.do("POST", s.collectionPath(), `{"apiVersion":"none/v9","kind":"None","metadata":{"name":"none"}}`); a.code != 400 {
		s.Errorf("an object of another kind: %d", a.code)
	}
	s.want(400, "POST", s.collectionPath(), "{")
	s.want(415, "POST", s.collectionPath(), "hello", "Content-Type", "text/plain")
}

func (s *suite) update() {
	made := s.make("updated")
	s.event("ADDED", made)
	same := s.want(200, "PUT", s.path("updated"), made).object
	if same.GetResourceVersion() != made.GetResourceVersion() {
		s.Errorf("an update that changes nothing made version %s of %s", same.GetResourceVersion(), made.GetResourceVersion())
	}
	dry := s.want(200, "PUT", s.path("updated")+"?dryRun=All", s.labelled(made, "dry")).object
	if dry.GetLabels()["suite"] != "dry" {
		s.Errorf("a dry run shows labels %v", dry.GetLabels())
	}
	s.unwritten(made)
	changed := s.want(200, "PUT", s.path("updated"), s.labelled(made, "new")).object
	if changed.GetLabels()["suite"] != "new" || changed.GetUID() != made.GetUID() || changed.GetCreationTimestamp() != made.GetCreationTimestamp() {
		s.Errorf("updated to %v", changed.Object["metadata"])
	}
	generation := made.GetGeneration()
	if s.fixture.LabelsCount {
		generation++
	}
	if changed.GetGeneration() != generation {
		s.Errorf("a label made generation %d of %d, want %d", changed.GetGeneration(), made.GetGeneration(), generation)
	}
	s.grown(made, changed, "MODIFIED")
	s.want(409, "PUT", s.path("updated"), s.labelled(made, "late"))
	foreign := s.labelled(changed, "foreign")
	foreign.SetUID("00000000-0000-0000-0000-000000000000")
	s.want(409, "PUT", s.path("updated"), foreign)
	other := s.labelled(changed, "other")
	other.SetName("another")
	s.want(400, "PUT", s.path("updated"), other)
	s.immutable(changed)
	s.unwritten(changed)
	absent := s.object("absent-" + s.kind.Singular)
	if s.kind.CreateOnUpdate {
		s.event("ADDED", s.want(201, "PUT", s.path(absent.GetName()), absent).object)
	} else {
		s.want(404, "PUT", s.path(absent.GetName()), absent)
	}
}

// elsewhere is in another namespace than the request: refused, or, of a kind without namespaces, not heard.
func (s *suite) elsewhere() {
	wish := s.object("elsewhere")
	wish.SetNamespace("kube-system")
	if s.kind.Namespaced {
		s.want(400, "POST", s.collectionPath()+"?dryRun=All", wish)
		return
	}
	made := s.want(201, "POST", s.collectionPath()+"?dryRun=All", wish).object
	if made.GetNamespace() != "" {
		s.Errorf("an object of no namespace was put into %s", made.GetNamespace())
	}
}

// immutable is metadata that the system alone sets: an update that names other values leaves it as it was.
func (s *suite) immutable(now *unstructured.Unstructured) {
	try := now.DeepCopy()
	try.SetCreationTimestamp(metav1.Unix(1, 0))
	try.SetGeneration(77)
	try.SetSelfLink("/self")
	after := s.want(200, "PUT", s.path(now.GetName()), try).object
	if after.GetResourceVersion() != now.GetResourceVersion() || after.GetGeneration() != now.GetGeneration() {
		s.Errorf("metadata of the system's own changed: %v", after.Object["metadata"])
	}
}

func (s *suite) patch() {
	now := s.make("patched")
	s.event("ADDED", now)
	strategic := 200
	if s.kind.Untyped {
		strategic = 415
	}
	for _, p := range []struct {
		media, body string
		code        int
	}{
		{"application/merge-patch+json", `{"metadata":{"labels":{"suite":"merge"}}}`, 200},
		{"application/json-patch+json", `[{"op":"test","path":"/metadata/labels/suite","value":"merge"},{"op":"replace","path":"/metadata/labels/suite","value":"json"}]`, 200},
		{"application/strategic-merge-patch+json", `{"metadata":{"labels":{"suite":"strategic"}}}`, strategic},
	} {
		dry := s.want(p.code, "PATCH", s.path("patched")+"?dryRun=All", p.body, "Content-Type", p.media)
		s.unwritten(now)
		if p.code != 200 {
			continue
		}
		after := s.want(200, "PATCH", s.path("patched"), p.body, "Content-Type", p.media).object
		if !reflect.DeepEqual(after.GetLabels(), dry.object.GetLabels()) || reflect.DeepEqual(after.GetLabels(), now.GetLabels()) {
			s.Errorf("%s: labels %v, dry %v", p.media, after.GetLabels(), dry.object.GetLabels())
		}
		s.grown(now, after, "MODIFIED")
		again := s.do("PATCH", s.path("patched"), `{}`, "Content-Type", "application/merge-patch+json").object
		if again.GetResourceVersion() != after.GetResourceVersion() {
			s.Errorf("an empty patch made version %s of %s", again.GetResourceVersion(), after.GetResourceVersion())
		}
		now = after
	}
	for _, bad := range []struct {
		media, body string
		code        int
	}{
		{"application/json-patch+json", `[{"op":"test","path":"/metadata/name","value":"other"}]`, 422},
		{"application/json-patch+json", `{`, 400},
		{"application/merge-patch+json", `[`, 400},
		{"application/merge-patch+json", `{"metadata":{"name":"other"}}`, 400},
		{"application/merge-patch+json", `{"metadata":{"resourceVersion":"1","labels":{"suite":"late"}}}`, 409},
		{"application/nonsense", `{}`, 415},
	} {
		s.want(bad.code, "PATCH", s.path("patched"), bad.body, "Content-Type", bad.media)
	}
	s.unwritten(now)
	s.want(404, "PATCH", s.path("absent"), `{}`, "Content-Type", "application/merge-patch+json")
}

const applyType = "application/apply-patch+yaml"

func (s *suite) apply() {
	// What is applied in the end was applied from the beginning: it has one owner, whom another has to force.
	wish := s.labelled(s.object("applied"), "a")
	made := s.want(201, "PATCH", s.path("applied")+"?fieldManager=a", wish, "Content-Type", applyType).object
	s.event("ADDED", made)
	fields := made.GetManagedFields()
	if len(fields) == 0 || fields[0].Manager != "a" || fields[0].Operation != metav1.ManagedFieldsOperationApply {
		s.Errorf("fields are managed by %v", fields)
	}
	same := s.want(200, "PATCH", s.path("applied")+"?fieldManager=a", wish, "Content-Type", applyType).object
	if same.GetResourceVersion() != made.GetResourceVersion() {
		s.Errorf("applying the same made version %s of %s", same.GetResourceVersion(), made.GetResourceVersion())
	}
	label := func(value string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(s.kind.GVK)
		u.SetName("applied")
		u.SetLabels(map[string]string{"suite": value})
		return u
	}
	refused := s.want(409, "PATCH", s.path("applied")+"?fieldManager=b", label("b"), "Content-Type", applyType)
	if !strings.Contains(refused.message(), `conflict with "a"`) {
		s.Errorf("the conflict reads %q", refused.message())
	}
	s.want(200, "PATCH", s.path("applied")+"?fieldManager=b&force=true&dryRun=All", label("b"), "Content-Type", applyType)
	s.unwritten(made)
	forced := s.want(200, "PATCH", s.path("applied")+"?fieldManager=b&force=true", label("b"), "Content-Type", applyType).object
	if forced.GetLabels()["suite"] != "b" {
		s.Errorf("forced labels %v", forced.GetLabels())
	}
	s.grown(made, forced, "MODIFIED")
	nothing := label("")
	nothing.SetLabels(nil)
	dropped := s.want(200, "PATCH", s.path("applied")+"?fieldManager=b", nothing, "Content-Type", applyType).object
	if _, has := dropped.GetLabels()["suite"]; has {
		s.Errorf("a field that nobody applies any more stayed: %v", dropped.GetLabels())
	}
	s.grown(forced, dropped, "MODIFIED")
	if a := s.do("PATCH", s.path("applied"), wish, "Content-Type", applyType); a.code != 422 {
		s.Errorf("applied without a manager: %d", a.code)
	}
}

func (s *suite) status() {
	if s.kind.Subresource("status") == nil {
		s.want(404, "GET", s.path("x", "status"), nil)
		return
	}
	if s.fixture.Status == nil {
		s.Fatal("the kind has a status, and the fixture has none to set")
	}
	made := s.make("stated")
	s.event("ADDED", made)
	patch := map[string]any{"status": s.fixture.Status}
	const media = "application/merge-patch+json"
	main := s.do("PATCH", s.path("stated"), patch, "Content-Type", media)
	if main.code == 200 && main.object.GetResourceVersion() != made.GetResourceVersion() {
		s.Errorf("the status was written through the object itself: %v", main.object.Object["status"])
	}
	s.want(200, "PATCH", s.path("stated", "status")+"?dryRun=All", patch, "Content-Type", media)
	s.unwritten(made)
	after := s.want(200, "PATCH", s.path("stated", "status"), patch, "Content-Type", media).object
	if fault := within(s.fixture.Status, after.Object["status"]); fault != "" {
		s.Errorf("status%s", fault)
	}
	if after.GetGeneration() != made.GetGeneration() || !reflect.DeepEqual(after.Object["spec"], made.Object["spec"]) {
		s.Errorf("a status write changed more: %v", after.Object)
	}
	s.grown(made, after, "MODIFIED")
	shown := s.want(200, "GET", s.path("stated", "status"), nil).object
	if !reflect.DeepEqual(shown.Object, after.Object) {
		s.Errorf("the status reads %v", shown.Object)
	}
	put := s.want(200, "PUT", s.path("stated", "status"), after).object
	if put.GetResourceVersion() != after.GetResourceVersion() {
		s.Errorf("a status that is the same made version %s of %s", put.GetResourceVersion(), after.GetResourceVersion())
	}
	fresh := s.labelled(put, "main")
	delete(fresh.Object, "status")
	kept := s.want(200, "PUT", s.path("stated"), fresh).object
	if fault := within(s.fixture.Status, kept.Object["status"]); fault != "" {
		s.Errorf("an update of the rest lost the status%s", fault)
	}
}

// full: nothing that can be said is lost.
func (s *suite) full() {
	wish := s.from(s.fixture.Full, "full")
	made := s.want(201, "POST", s.collectionPath()+"?fieldValidation=Strict", wish).object
	if fault := within(wish.Object, made.Object); fault != "" {
		s.Errorf("what was made lacks something%s", fault)
	}
	s.unwritten(made)
	s.event("ADDED", made)
	same := s.want(200, "PUT", s.path("full"), made).object
	if same.GetResourceVersion() != made.GetResourceVersion() {
		s.Errorf("read and written back, it has version %s instead of %s", same.GetResourceVersion(), made.GetResourceVersion())
	}
	table := s.want(200, "GET", s.path("full"), nil, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").object
	rows, _, _ := unstructured.NestedSlice(table.Object, "rows")
	if len(rows) == 0 {
		s.Error("a full object has no row")
	}
}

func merged(labels map[string]string, pairs ...string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

func (s *suite) labelled(u *unstructured.Unstructured, value string) *unstructured.Unstructured {
	out := u.DeepCopy()
	out.SetLabels(merged(out.GetLabels(), "suite", value))
	return out
}
