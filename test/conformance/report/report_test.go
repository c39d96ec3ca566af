package report

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/internal/testkit"
)

func read(t *testing.T, name string) []Case {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cases, err := Read(f, Causes(), false)
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// TestDocument shows the document of a run, and that reading it back loses nothing.
func TestDocument(t *testing.T) {
	cases := read(t, "report.json")
	runs := Runs{Whole: "3 passed on some machine", Part: "FOCUS=`x`; 1 passed"}
	got := Document(runs, cases)
	testkit.Golden(t, "document.md", got)
	gotRuns, gotCases, err := Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(runs, gotRuns); diff != "" {
		t.Errorf("runs read back (-wrote +read):\n%s", diff)
	}
	if diff := cmp.Diff(cases, gotCases); diff != "" {
		t.Errorf("cases read back (-wrote +read):\n%s", diff)
	}
}

func TestReadFaults(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"cut short", `[{"SpecReports": [`, "read the suite's report"},
		{"no case", `[{"SpecReports": [{"LeafNodeType": "It", "LeafNodeText": "x", "State": "passed"}]}]`, "names no conformance case"},
		{"no beginning", `[{"SpecReports": [{"LeafNodeType": "SynchronizedBeforeSuite", "State": "failed", "Failure": {"Message": "no nodes"}}]}]`,
			"SynchronizedBeforeSuite failed: no nodes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(c.in), nil, false)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestCutShort: what a user's ^C stopped has not failed.
func TestCutShort(t *testing.T) {
	const in = `[{"SpecReports": [{"LeafNodeType": "It", "LeafNodeText": "x", "LeafNodeLabels": ["Conformance"], "State": "interrupted", "Failure": {"Message": "Interrupted"}}]}]`
	for cut, want := range map[bool]State{true: NotRun, false: Failed} {
		cases, err := Read(strings.NewReader(in), nil, cut)
		if err != nil || len(cases) != 1 || cases[0].State != want {
			t.Errorf("cut=%v: %v, %v, want %s", cut, cases, err, want)
		}
	}
}

func TestParseFaults(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"no area", "- passed: x\n", "line 1: a case outside of an area"},
		{"by hand", "## sig-node\n\n- passed: x\nand y\n", `line 4: "and y" is neither`},
		{"unknown state", "## sig-node\n\n- perhaps: x\n", "line 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Parse(c.in)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	before := []Case{{"a", "broke", Passed, ""}, {"a", "gone", Passed, ""}, {"a", "kept", Failed, "old"}, {"a", "mended", Failed, "old"}, {"a", "refused", Passed, ""}}
	ran := []Case{{"a", "broke", Failed, "new"}, {"a", "kept", NotRun, ""}, {"a", "mended", Passed, ""}, {"a", "refused", NotRun, "it says no"}}
	for _, c := range []struct {
		name  string
		whole bool
		kept  Case
	}{
		{"a part leaves what it did not reach", false, Case{"a", "kept", Failed, "old"}},
		{"the whole replaces everything", true, Case{"a", "kept", NotRun, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := []Case{ran[0], c.kept, ran[2], ran[3]}
			if diff := cmp.Diff(want, Merge(before, ran, c.whole)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestShorten(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"an error of the API", "Unexpected error:\n    <*errors.StatusError | 0xc00234>: \n    the server could not find the requested resource\n    {\n        ErrStatus: {\n            Code: 404,\n        },\n    }\noccurred",
			"Unexpected error: the server could not find the requested resource occurred"},
		{"values", "Expected\n    <int>: 404\nto equal\n    <int>: 200", "Expected 404 to equal 200"},
		{"what changes from run to run", "Timed out after 300.0012s waiting for pods-4711/pod-6f9619ff-8b86-4d01-b42d-00cf4fc964ff", "Timed out after 300s waiting for pods-N/pod-UID"},
		{"long", strings.Repeat("word ", 100), strings.TrimSuffix(strings.Repeat("word ", 48), " ") + " ..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := shorten(c.in); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestCauses holds that every row says something in one line that the document can be read back with.
func TestCauses(t *testing.T) {
	for _, c := range Causes() {
		if c.Case == nil && c.Message == nil {
			t.Errorf("%q would explain every failure", c.Say)
		}
		if c.Say == "" || c.Say != strings.TrimSpace(c.Say) || strings.Contains(c.Say, "\n") {
			t.Errorf("%q is not one line", c.Say)
		}
	}
}
