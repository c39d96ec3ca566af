package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/cuppa-project/cuppa/internal/testkit"
)

// module has a package for each way in which tests can end.
const module = `
-- go.mod --
module example
go 1.26
-- passes/a_test.go --
package passes
import "testing"
func TestGood(t *testing.T) { t.Log("nobody wants to know") }
func TestSkipped(t *testing.T) { t.Skip("needs the moon") }
func TestSub(t *testing.T) {
	t.Run("one", func(t *testing.T) { t.Skipf("needs %s", "the moon") })
	t.Run("two", func(t *testing.T) { t.SkipNow() })
}
-- fails/a_test.go --
package fails
import ("testing"; "fmt")
func TestBad(t *testing.T) {
	fmt.Println("printed by a test that fails")
	t.Run("inner", func(t *testing.T) { t.Error("wrong") })
	t.Run("other", func(t *testing.T) { t.Log("right") })
}
func TestGood(t *testing.T) { fmt.Println("printed by a test that passes") }
-- panics/a_test.go --
package panics
import "testing"
func TestPanic(t *testing.T) { panic("at the disco") }
-- broken/a_test.go --
package broken
func f() { return 1 }
-- none/a.go --
package none
`

var changing = regexp.MustCompile(`(?m)\t(\(cached\)|[0-9.]+s)$|\([0-9.]+s\)`)

func lay(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, f := range txtar.Parse([]byte(module)).Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestReport runs the program's own way over a small module, and holds all that it prints.
func TestReport(t *testing.T) {
	dir := lay(t)
	var out strings.Builder
	r := newReport(&out)
	var codes []int
	for _, run := range runs([]string{"CGO_ENABLED=0", "-C", dir, "-p", "1", "./passes", "./none", "--", "CGO_ENABLED=0", "-C", dir, "-p", "1", "./broken", "./fails"}) {
		codes = append(codes, run.test(t.Context(), r))
	}
	r.skips()
	if diff := cmp.Diff([]int{0, 1}, codes); diff != "" {
		t.Errorf("exit codes (-want +got):\n%s", diff)
	}
	testkit.Golden(t, "report.golden", changing.ReplaceAllString(strings.ReplaceAll(out.String(), dir, "DIR"), "…"))
}

// TestPanic: a package whose tests stop in the middle says why.
func TestPanic(t *testing.T) {
	var out strings.Builder
	run := testRun{env: []string{"CGO_ENABLED=0"}, args: []string{"-C", lay(t), "./panics"}}
	code := run.test(t.Context(), newReport(&out))
	for _, want := range []string{"panic: at the disco", "a_test.go:3", "FAIL\texample/panics"} {
		if code != 1 || !strings.Contains(out.String(), want) {
			t.Errorf("exit code %d, and the output lacks %q:\n%s", code, want, &out)
		}
	}
}

func TestRuns(t *testing.T) {
	got := runs([]string{"A=1", "B_C=2", "-timeout", "1m", "./a", "--", "./b", "--"})
	want := []testRun{{env: []string{"A=1", "B_C=2"}, args: []string{"-timeout", "1m", "./a"}}, {env: []string{}, args: []string{"./b"}}, {env: []string{}, args: []string{}}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(testRun{})); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

// TestOtherLines: what is no event, such as a word from the toolchain, is not lost.
func TestOtherLines(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	if err := r.read(strings.NewReader("go: downloading something\n{\"not\": \"an event\"}\nthe last line has no end")); err != nil {
		t.Fatal(err)
	}
	want := "go: downloading something\n{\"not\": \"an event\"}\nthe last line has no end"
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
