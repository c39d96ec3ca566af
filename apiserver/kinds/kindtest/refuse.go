package kindtest

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

func (s *suite) strictness() {
	if s.kind.Untyped && s.kind.Prune == nil {
		return // every field is known
	}
	odd := s.object("odd")
	odd.Object["metadata"].(map[string]any)["unheardOf"] = true
	if s.kind.Untyped {
		odd = s.object("odd")
		odd.Object["spec"].(map[string]any)["unheardOf"] = true
	}
	a := s.want(400, "POST", s.collectionPath()+"?fieldValidation=Strict", odd)
	if !strings.Contains(a.message(), "unheardOf") {
		s.Errorf("strict: %q", a.message())
	}
	a = s.want(201, "POST", s.collectionPath()+"?fieldValidation=Warn&dryRun=All", odd)
	if !strings.Contains(a.header.Get("Warning"), "unheardOf") {
		s.Errorf("warnings %q", a.header.Values("Warning"))
	}
	a = s.want(201, "POST", s.collectionPath()+"?fieldValidation=Ignore&dryRun=All", odd)
	if strings.Contains(fmt.Sprint(a.header.Values("Warning")), "unheardOf") {
		s.Errorf("warnings %q", a.header.Values("Warning"))
	}
	s.want(422, "POST", s.collectionPath()+"?fieldValidation=Sometimes", odd)
}

func (s *suite) invalid() {
	nameless := s.object("")
	s.want(422, "POST", s.collectionPath(), nameless)
	s.want(422, "POST", s.collectionPath(), s.object("Not/A/Name"))
	bad := s.object("bad")
	overlay(bad.Object, s.fixture.Invalid)
	s.refusedAt(s.want(422, "POST", s.collectionPath(), bad))
	s.want(404, "GET", s.path("bad"), nil)
}

// refusedAt says whether a refusal names the field that makes the fixture's object invalid.
func (s *suite) refusedAt(a answer) {
	s.Helper()
	causes, _, _ := unstructured.NestedSlice(a.object.Object, "details", "causes")
	if !slices.ContainsFunc(causes, func(c any) bool { return c.(map[string]any)["field"] == s.fixture.InvalidField }) {
		s.Errorf("the refusal does not name %s: %s", s.fixture.InvalidField, a.message())
	}
}

func overlay(document, change map[string]any) {
	for key, value := range change {
		inner, ok := value.(map[string]any)
		outer, ok2 := document[key].(map[string]any)
		if ok && ok2 {
			overlay(outer, inner)
			continue
		}
		document[key] = runtime.DeepCopyJSONValue(value)
	}
}
