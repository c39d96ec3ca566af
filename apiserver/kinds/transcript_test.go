package kinds

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestTranscripts runs the files of testdata. A case begins with "=== name"; "--- create" and then any number of "--- update",
// "--- status" and the like hold YAML; "--- want" is what came of them: each step's faults, or else the object as it would be stored.
// "--- row" shows an object's line in the table alone. With -update the last part is written anew.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for _, c := range readCases(string(content)) {
				t.Run(c.name, func(t *testing.T) {
					var got string
					// In here it is the first moment of the year 2000, so that ages are always the same.
					synctest.Test(t, func(t *testing.T) { got = c.run(t) })
					if !testkit.Updating() {
						if diff := cmp.Diff(c.want, got); diff != "" {
							t.Errorf("transcript differs (-want +got):\n%s", diff)
						}
					}
					c.want = got
				})
				out.WriteString(c.String())
			}
			if testkit.Updating() {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type step struct{ verb, text string }

type transcript struct {
	name  string
	steps []step
	want  string
}

func (c *transcript) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "=== %s\n", c.name)
	for _, s := range c.steps {
		fmt.Fprintf(&out, "--- %s\n%s", s.verb, s.text)
	}
	fmt.Fprintf(&out, "--- want\n%s\n", c.want)
	return out.String()
}

func readCases(content string) []*transcript {
	var cases []*transcript
	var c *transcript
	for _, line := range strings.SplitAfter(content, "\n") {
		switch {
		case strings.HasPrefix(line, "=== "):
			c = &transcript{name: strings.TrimSpace(line[4:])}
			cases = append(cases, c)
		case strings.HasPrefix(line, "--- "):
			c.steps = append(c.steps, step{verb: strings.TrimSpace(line[4:])})
		case c != nil && len(c.steps) > 0:
			c.steps[len(c.steps)-1].text += line
		}
	}
	for _, c := range cases {
		if last := len(c.steps) - 1; last >= 0 && c.steps[last].verb == "want" {
			c.want = strings.TrimRight(c.steps[last].text, "\n") + "\n"
			c.steps = c.steps[:last]
		}
	}
	return cases
}

// run carries a case out as the server does: default, prepare, validate.
func (c *transcript) run(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	var old registry.Object
	for _, s := range c.steps {
		kind, obj := parse(t, s.text)
		if s.verb == "row" {
			out.WriteString(row(kind.Cells(obj)))
			continue
		}
		before := old
		faults, warnings := apply(kind, s.verb, obj, old)
		for _, w := range warnings {
			fmt.Fprintf(&out, "warning: %s\n", w)
		}
		if len(faults) > 0 {
			for _, f := range faults {
				fmt.Fprintf(&out, "%s: %s\n", s.verb, strings.TrimSpace(f))
			}
			continue
		}
		old = obj
		if before == nil || s.verb != "create" {
			if s.verb != "setup" {
				fmt.Fprintf(&out, "%s: ok\n%s", s.verb, show(t, kind, obj))
			}
		}
	}
	return out.String()
}

func parse(t *testing.T, text string) (*registry.Kind, registry.Object) {
	t.Helper()
	var u unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatalf("parse %q: %v", text, err)
	}
	kind := All().ByKind(schema.FromAPIVersionAndKind(u.GetAPIVersion(), u.GetKind()))
	if kind == nil {
		t.Fatalf("no kind %s %s", u.GetAPIVersion(), u.GetKind())
	}
	obj := kind.New()
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatalf("parse %q: %v", text, err)
	}
	return kind, obj
}

func apply(kind *registry.Kind, verb string, obj, old registry.Object) (faults, warnings []string) {
	if kind.Default != nil {
		kind.Default(obj)
	}
	var errs field.ErrorList
	prepare, validate := kind.PrepareUpdate, kind.ValidateUpdate
	switch verb {
	case "create", "setup":
		if obj.GetNamespace() == "" && kind.Namespaced {
			obj.SetNamespace("default")
		}
		if kind.PrepareCreate != nil {
			kind.PrepareCreate(obj)
		}
		if kind.Requested != nil {
			kind.Requested(obj, authenticationv1.UserInfo{Username: "jane", UID: "7", Groups: []string{"staff"}, Extra: map[string]authenticationv1.ExtraValue{"tier": {"1"}}})
		}
		errs = kind.ValidateCreate(obj)
		if kind.Warnings != nil {
			warnings = kind.Warnings(obj, nil)
		}
		return sorted(errs), warnings
	case "update":
	default:
		sub := kind.Subresource(verb)
		prepare, validate = sub.PrepareUpdate, sub.ValidateUpdate
	}
	obj.SetNamespace(old.GetNamespace())
	obj.SetUID(old.GetUID())
	obj.SetGeneration(old.GetGeneration())
	obj.SetResourceVersion("1")
	if prepare != nil {
		prepare(obj, old)
	}
	errs = validate(obj, old)
	if kind.Warnings != nil {
		warnings = kind.Warnings(obj, old)
	}
	obj.SetResourceVersion("")
	return sorted(errs), warnings
}

// sorted makes the order of faults that come from maps the same each time.
func sorted(errs field.ErrorList) []string {
	var out []string
	for _, err := range errs {
		out = append(out, strings.ReplaceAll(err.Error(), "\u00a0", " "))
	}
	sort.Strings(out)
	return out
}

func row(cells []any) string {
	out := "row:"
	for _, cell := range cells {
		if text, ok := cell.(string); ok {
			cell = fmt.Sprintf("%q", text)
		}
		out += fmt.Sprintf(" %v", cell)
	}
	return out + "\n"
}

func show(t *testing.T, kind *registry.Kind, obj registry.Object) string {
	t.Helper()
	text, err := yaml.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, line := range strings.SplitAfter(string(text), "\n") {
		if !strings.Contains(line, "creationTimestamp: null") {
			out.WriteString(line)
		}
	}
	cells := kind.Cells(obj)
	if len(cells) != len(kind.Columns) {
		t.Errorf("%d cells for %d columns", len(cells), len(kind.Columns))
	}
	out.WriteString(row(cells))
	return out.String()
}
