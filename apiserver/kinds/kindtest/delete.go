package kindtest

import (
	"maps"
	"slices"
)

func (s *suite) remove() {
	made := s.make("removed")
	s.event("ADDED", made)
	s.want(409, "DELETE", s.path("removed"), map[string]any{"preconditions": map[string]any{"uid": "another"}})
	s.want(409, "DELETE", s.path("removed"), map[string]any{"preconditions": map[string]any{"resourceVersion": "1"}})
	s.want(200, "DELETE", s.path("removed")+"?dryRun=All", nil)
	s.unwritten(made)
	exactly := map[string]any{"preconditions": map[string]any{"uid": string(made.GetUID()), "resourceVersion": made.GetResourceVersion()}}
	a := s.want(200, "DELETE", s.path("removed"), exactly)
	if s.kind.HoldsDelete != nil {
		held := s.want(200, "GET", s.path("removed"), nil).object
		if held.GetDeletionTimestamp() == nil {
			s.Error("what is held is not marked as being deleted")
		}
		return
	}
	if got, want := a.object.GetKind(), map[bool]string{true: s.kind.GVK.Kind, false: "Status"}[s.kind.AnswerDeleted]; got != want {
		s.Errorf("the answer is a %s, want a %s", got, want)
	}
	e := s.watch.next(s.T)
	if e.Type != "DELETED" || e.Object.GetUID() != made.GetUID() || revision(s, e.Object) <= revision(s, made) {
		s.Errorf("event %s of %v", e.Type, e.Object.Object["metadata"])
	}
	s.want(404, "GET", s.path("removed"), nil)
	s.want(404, "DELETE", s.path("removed"), nil)
}

func (s *suite) finalizers() {
	wish := s.object("held")
	wish.SetFinalizers([]string{"example.org/suite"})
	made := s.want(201, "POST", s.collectionPath(), wish).object
	s.event("ADDED", made)
	s.want(200, "DELETE", s.path("held"), nil)
	marked := s.want(200, "GET", s.path("held"), nil).object
	if marked.GetDeletionTimestamp() == nil || !slices.Contains(marked.GetFinalizers(), "example.org/suite") {
		s.Fatalf("marked %v", marked.Object["metadata"])
	}
	s.grown(made, marked, "MODIFIED")
	s.want(200, "DELETE", s.path("held"), nil)
	s.unwritten(marked)
	more := marked.DeepCopy()
	more.SetFinalizers(append(more.GetFinalizers(), "example.org/late"))
	if a := s.do("PUT", s.path("held"), more); a.code != 422 {
		s.Errorf("a finalizer was added to what is being deleted: %d", a.code)
	}
	s.want(200, "PATCH", s.path("held"), `{"metadata":{"finalizers":null}}`, "Content-Type", "application/merge-patch+json")
	if s.kind.HoldsDelete != nil {
		return
	}
	if e := s.watch.next(s.T); e.Type != "DELETED" || e.Object.GetUID() != made.GetUID() {
		s.Errorf("event %s of %s", e.Type, e.Object.GetName())
	}
	s.want(404, "GET", s.path("held"), nil)

	s.make("orphaning")
	s.want(200, "DELETE", s.path("orphaning"), map[string]any{"propagationPolicy": "Orphan"})
	orphaning := s.want(200, "GET", s.path("orphaning"), nil).object
	if !slices.Contains(orphaning.GetFinalizers(), "orphan") {
		s.Errorf("finalizers %v, want orphan among them", orphaning.GetFinalizers())
	}
}

func (s *suite) collection() {
	if s.kind.Verbs != nil && !slices.Contains(s.kind.Verbs, "deletecollection") {
		s.want(405, "DELETE", s.collectionPath(), nil)
		return
	}
	for _, name := range []string{"many-a", "many-b"} {
		s.want(201, "POST", s.collectionPath(), s.labelled(s.object(name), "many"))
	}
	s.make("few")
	s.want(200, "DELETE", s.collectionPath()+"?labelSelector=suite%3Dmany&dryRun=All", nil)
	s.want(200, "GET", s.path("many-a"), nil)
	gone := s.items(s.want(200, "DELETE", s.collectionPath()+"?labelSelector=suite%3Dmany", nil).object)
	if len(gone) != 2 || gone["many-a"] == nil || gone["many-b"] == nil {
		s.Errorf("the answer shows %v", slices.Sorted(maps.Keys(gone)))
	}
	s.want(404, "GET", s.path("many-a"), nil)
	s.want(404, "GET", s.path("many-b"), nil)
	s.want(200, "GET", s.path("few"), nil)
}
