package kindtest

// questions is what is asked of a virtual kind: nothing is stored, so there is nothing to read, change or watch. Each question must be answered with
// what the fixture's Status says, also as a dry run; it may not have a resourceVersion or a uid afterwards.
func (s *suite) questions() {
	for name, content := range map[string]map[string]any{"minimal": s.fixture.Minimal, "full": s.fixture.Full} {
		for _, query := range []string{"", "?dryRun=All"} {
			a := s.want(201, "POST", s.collectionPath()+query, s.from(content, ""))
			if a.object.GetUID() != "" || a.object.GetResourceVersion() != "" || a.object.GetKind() != s.kind.GVK.Kind {
				s.Errorf("%s%s: the answer looks stored: %v", name, query, a.object.Object)
			}
			if lack := within(s.fixture.Status, a.object.Object); lack != "" {
				s.Errorf("%s%s: %s, in %v", name, query, lack, a.object.Object)
			}
		}
	}
	if s.fixture.Invalid != nil {
		bad := s.from(s.fixture.Minimal, "")
		overlay(bad.Object, s.fixture.Invalid)
		s.refusedAt(s.want(422, "POST", s.collectionPath(), bad))
	}
	for _, method := range []string{"GET", "DELETE"} {
		s.want(405, method, s.collectionPath(), nil)
	}
	s.want(406, "POST", s.collectionPath(), s.from(s.fixture.Minimal, ""), "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
}
