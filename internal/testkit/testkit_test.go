package testkit

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// spy is a test that fails without failing this one.
type spy struct {
	testing.TB
	said []string
}

type fatal struct{}

func (s *spy) Helper() {}
func (s *spy) Errorf(format string, args ...any) {
	s.said = append(s.said, fmt.Sprintf(format, args...))
}
func (s *spy) Fatal(args ...any)                 { s.said = append(s.said, fmt.Sprint(args...)); panic(fatal{}) }
func (s *spy) Fatalf(format string, args ...any) { s.Errorf(format, args...); panic(fatal{}) }

// watch runs a check under a spy and returns what it said.
func watch(t *testing.T, check func(testing.TB)) string {
	t.Helper()
	s := &spy{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != (any)(fatal{}) {
				panic(r)
			}
		}()
		check(s)
	}()
	return strings.Join(s.said, "\n")
}

// inTemp runs the test in an empty folder, with -update or without.
func inTemp(t *testing.T) (updating func(func())) {
	t.Helper()
	t.Chdir(t.TempDir())
	return func(do func()) {
		*update = true
		defer func() { *update = false }()
		do()
	}
}

func TestGolden(t *testing.T) {
	updating := inTemp(t)
	if said := watch(t, func(t testing.TB) { Golden(t, "deep/x.txt", "one\n") }); !strings.Contains(said, "-update") {
		t.Errorf("a missing file: %q", said)
	}
	updating(func() { Golden(t, "deep/x.txt", "one\n") })
	if said := watch(t, func(t testing.TB) { Golden(t, "deep/x.txt", "one\n") }); said != "" {
		t.Errorf("the same: %q", said)
	}
	if said := watch(t, func(t testing.TB) { Golden(t, "deep/x.txt", "two\n") }); !strings.Contains(said, `+ 	"two\n"`) && !strings.Contains(said, "two") {
		t.Errorf("a difference: %q", said)
	}
}

func TestGoldenPart(t *testing.T) {
	updating := inTemp(t)
	text := "do this\n-- a/b --\nhello\n-- want --\ngood\n"
	if err := os.WriteFile("case.txtar", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]string{"want": "", "none": "no part"} {
		if said := watch(t, func(t testing.TB) { GoldenPart(t, "case.txtar", part, "good\n") }); (said == "") != (want == "") || !strings.Contains(said, want) {
			t.Errorf("part %s: %q", part, said)
		}
	}
	if said := watch(t, func(t testing.TB) { GoldenPart(t, "case.txtar", "want", "bad\n") }); !strings.Contains(said, "bad") {
		t.Errorf("a difference: %q", said)
	}
	updating(func() {
		GoldenPart(t, "case.txtar", "want", "better\n")
		GoldenPart(t, "case.txtar", "more", "new\n")
	})
	data, err := os.ReadFile("case.txtar")
	if want := strings.Replace(text, "good", "better", 1) + "-- more --\nnew\n"; err != nil || string(data) != want {
		t.Errorf("%v, the archive is\n%s", err, data)
	}
}

func TestEventually(t *testing.T) {
	n := 0
	Eventually(t, time.Minute, func() error {
		if n++; n < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if said := watch(t, func(t testing.TB) { Eventually(t, 0, func() error { return errors.New("never") }) }); !strings.Contains(said, "not within 0s: never") {
		t.Errorf("got %q", said)
	}
}
