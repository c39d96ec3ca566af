package verdict

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cuppa-project/cuppa/cli/heavy"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func project(t *testing.T, text string) load.Options {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return load.Options{Dir: dir, ProjectName: "p"}
}

func private(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if os.Chmod(path, 0o700) != nil {
			break // it is not ours
		}
	}
	return filepath.Join(dir, "memo")
}

// TestMemory: a document is asked about once for each build of the program, and not again after what was remembered is lost or open to others.
func TestMemory(t *testing.T) {
	dir := private(t)
	asked := 0
	l := &Loader{Documents: &Documents{}, Memo: Memo{Dir: dir, Build: "one"}}
	answer := func() bool { // true: a question was asked
		asked = 0
		known, _ := l.Memo.read()
		l.Documents.begin(known)
		if err := l.Documents.See(map[string]any{"services": map[string]any{"a": map[string]any{"image": "x"}}}); err != nil {
			t.Fatal(err)
		}
		if unknown := l.Documents.end(); len(unknown) > 0 {
			asked++
			if err := l.Memo.add(known, digests(unknown)); err != nil {
				t.Log(err)
			}
		}
		return asked > 0
	}
	for _, c := range []struct {
		about string
		first func() error
		asks  bool
	}{
		{"new", func() error { return nil }, true},
		{"remembered", func() error { return nil }, false},
		{"another build", func() error { l.Memo.Build = "two"; return nil }, true},
		{"remembered", func() error { return nil }, false},
		{"open to others", func() error { return os.Chmod(dir, 0o777) }, true},
		{"private again", func() error { return os.Chmod(dir, 0o700) }, false},
		{"cut short", func() error { return os.Truncate(filepath.Join(dir, memoName), 10) }, true},
		{"no place", func() error { l.Memo.Dir = ""; return nil }, true},
		{"no place, again", func() error { return nil }, true},
	} {
		if err := c.first(); err != nil {
			t.Fatal(err)
		}
		if got := answer(); got != c.asks {
			t.Errorf("%s: a question was asked: %v, want %v", c.about, got, c.asks)
		}
	}
}

// TestMemoryBounded: the file does not grow for ever, and keeps what came last.
func TestMemoryBounded(t *testing.T) {
	m := Memo{Dir: private(t), Build: "b"}
	for i := range remembered + 20 {
		known, _ := m.read()
		if err := m.add(known, []string{strconv.Itoa(i)}); err != nil {
			t.Fatal(err)
		}
	}
	known, err := m.read()
	if err != nil || len(known) != remembered || !known[strconv.Itoa(remembered+19)] {
		t.Errorf("%d are remembered, the last among them: %v; %v", len(known), known[strconv.Itoa(remembered+19)], err)
	}
}

// TestAsk: what the answer says is what the loading says.
func TestAsk(t *testing.T) {
	bad := "services: {a: {imag: x}}"
	for _, c := range []struct {
		about  string
		answer func(n int, q Question) (Answer, error)
		want   string
		kind   error
	}{
		{"refused", func(_ int, q Question) (Answer, error) {
			if !q.Refused {
				t.Error("the question does not say that the files were refused")
			}
			return Answer{Fault: heavy.Fault{Kind: "invalid", Text: "so it is"}}, nil
		}, "so it is", errkind.Invalid},
		{"no answer", func(int, Question) (Answer, error) { return Answer{}, errors.New("gone") }, "hold the files against the Compose Specification: gone", nil},
		{"always again", func(int, Question) (Answer, error) { return Answer{Again: true}, nil }, "the Compose files change faster than they can be read", errkind.Conflict},
	} {
		n := 0
		l := &Loader{Documents: &Documents{}, Ask: func(_ context.Context, q Question) (Answer, error) { n++; return c.answer(n, q) }}
		_, err := l.Load(t.Context(), project(t, bad))
		if err == nil || !strings.HasSuffix(err.Error(), c.want) || errkind.Of(err) != c.kind {
			t.Errorf("%s: got %v, want %q (%v)", c.about, err, c.want, c.kind)
		}
	}
	l := &Loader{Documents: &Documents{}, Ask: func(context.Context, Question) (Answer, error) {
		return Answer{}, errors.New("nothing was to be asked")
	}}
	if r, err := l.Load(t.Context(), project(t, "services: {a: {image: x}}")); err != nil || len(r.Project.Services) != 1 {
		t.Errorf("a valid file: %v", err)
	}
}
