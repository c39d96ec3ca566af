package decide_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/cuppa-project/cuppa/cli/verdict"
	"github.com/cuppa-project/cuppa/cli/verdict/decide"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/load/specification"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// TestSameErrors: whatever is wrong with files, a program that has to ask says the same as one that has the schema itself.
func TestSameErrors(t *testing.T) {
	files, err := filepath.Glob("../../../compose/load/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	refused := 0
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			opts := load.Options{Dir: unpack(t, file), Env: map[string]string{"HOME": "/root"}}
			l := &verdict.Loader{Documents: &verdict.Documents{}, Ask: ask}
			_, got := l.Load(t.Context(), opts)
			opts.Schema = specification.Findings
			_, want := load.Load(t.Context(), opts)
			if text(got) != text(want) || errkind.Of(got) != errkind.Of(want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			if want != nil {
				refused++
			}
		})
	}
	if refused == 0 {
		t.Error("no case is refused")
	}
}

func unpack(t *testing.T, file string) string {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range archive.Files {
		path := filepath.Join(dir, f.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, f.Data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// ask is the question and the answer as they cross from one program to the other.
func ask(ctx context.Context, q verdict.Question) (a verdict.Answer, err error) {
	data, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	var there verdict.Question
	if err := json.Unmarshal(data, &there); err != nil {
		return a, err
	}
	if data, err = json.Marshal(decide.Answer(ctx, there)); err != nil {
		return a, err
	}
	return a, json.Unmarshal(data, &a)
}

// TestAnswer: valid documents are valid, one that is not is explained from the files, and files that were mended meanwhile are to be read again.
func TestAnswer(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		about, file, doc string
		refused          bool
		want             string
		again            bool
	}{
		{"valid", "services: {a: {image: x}}", `{"services":{"a":{"image":"x"}}}`, false, "", false},
		{"not valid", "services: {a: {imag: x}}", `{"services":{"a":{"imag":"x"}}}`, false, `compose.yaml:1: services.a.imag: unknown key (did you mean "image"?)`, false},
		{"mended meanwhile", "services: {a: {image: x}}", `{"services":{"a":{"imag":"x"}}}`, false, "", true},
		{"refused for another reason", "services: {a: {image: x, extends: {service: b}}}", "", true, `"b"`, false},
		{"no document", "services: {a: {image: x}}", "7", false, "", true},
	} {
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(c.file), 0o644); err != nil {
			t.Fatal(err)
		}
		q := verdict.Question{Options: load.Options{Dir: dir}, Refused: c.refused}
		if c.doc != "" {
			q.Documents = append(q.Documents, json.RawMessage(c.doc))
		}
		a, err := ask(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(a.Fault.Err()); c.want == "" && got != "" || !strings.Contains(got, c.want) || a.Again != c.again {
			t.Errorf("%s: %q, again=%v; want %q, %v", c.about, got, a.Again, c.want, c.again)
		}
	}
}

// TestInput: what came from the standard input is explained, too, though it can be read once only.
func TestInput(t *testing.T) {
	l := &verdict.Loader{Documents: &verdict.Documents{}, Ask: ask}
	_, err := l.Load(t.Context(), load.Options{Dir: t.TempDir(), ProjectName: "p", Files: []string{"-"}, Stdin: strings.NewReader("services: {a: {imag: x}}")})
	if want := `stdin:1: services.a.imag: unknown key (did you mean "image"?)`; text(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
