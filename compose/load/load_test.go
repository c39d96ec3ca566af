package load_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/load/specification"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestGolden loads each archive of testdata and compares what comes out: the errors, or the warnings and all of the project, with the hash of
// each service. The comment of an archive may hold "profiles=a,b", "services=a", "dir=inner" or "name=project".
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// The folder's name is the project's name, so it must not change from run to run.
			dir := filepath.Join(t.TempDir(), "proj")
			for _, f := range archive.Files {
				if f.Name == "want" {
					continue
				}
				path := filepath.Join(dir, f.Name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			testkit.GoldenPart(t, file, "want", strings.ReplaceAll(describe(t, dir, string(archive.Comment)), dir, "DIR"))
		})
	}
}

func describe(t *testing.T, dir, comment string) string {
	opts := load.Options{Dir: dir, Env: map[string]string{"HOME": "/root", "SHELL_SET": "shell"}, Schema: specification.Findings}
	for _, field := range strings.Fields(comment) {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "profiles":
			opts.Profiles = strings.Split(value, ",")
		case "services":
			opts.Services = strings.Split(value, ",")
		case "dir":
			opts.Dir = filepath.Join(dir, value)
		case "name":
			opts.ProjectName = value
		}
	}
	var out strings.Builder
	r, err := load.Load(t.Context(), opts)
	if err != nil {
		return "error:\n" + err.Error() + "\n"
	}
	for _, w := range r.Warnings {
		out.WriteString("warning: " + w + "\n")
	}
	// Everything that is not zero is printed, so that nothing of what was made can change unseen.
	services := r.Project.Services
	r.Project.Services = nil
	out.WriteString("project")
	show(&out, reflect.ValueOf(*r.Project), "  ")
	for _, s := range services {
		out.WriteString("service")
		show(&out, reflect.ValueOf(s), "  ")
		for i := range s.Mounts { // the hash covers the folder, which is another in each run
			s.Mounts[i].Source = strings.ReplaceAll(s.Mounts[i].Source, dir, "DIR")
		}
		out.WriteString("  hash " + s.Hash(r.Project) + "\n")
	}
	return out.String()
}

// show prints a value behind its name: what is plain on the same line, what has parts below it. Zero fields are left out.
func show(out *strings.Builder, v reflect.Value, indent string) {
	switch x := v.Interface().(type) {
	case []byte:
		fmt.Fprintf(out, " %q\n", x)
		return
	case time.Duration:
		fmt.Fprintf(out, " %s\n", x)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			out.WriteString(" nil\n")
			return
		}
		show(out, v.Elem(), indent)
	case reflect.Struct:
		out.WriteString("\n")
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				out.WriteString(indent + v.Type().Field(i).Name)
				show(out, v.Field(i), indent+"  ")
			}
		}
	case reflect.Slice:
		if k := v.Type().Elem().Kind(); k != reflect.Struct {
			fmt.Fprintf(out, " %q\n", v.Interface())
			return
		}
		out.WriteString("\n")
		for i := range v.Len() {
			out.WriteString(indent + "-")
			show(out, v.Index(i), indent+"  ")
		}
	case reflect.Map:
		out.WriteString("\n")
		for _, key := range slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }) {
			out.WriteString(indent + key.String() + ":")
			show(out, v.MapIndex(key), indent+"  ")
		}
	case reflect.String:
		fmt.Fprintf(out, " %q\n", v.String())
	default:
		fmt.Fprintf(out, " %v\n", v.Interface())
	}
}

// TestStable loads the same faulty file many times: the order of what is reported must not depend on that of a map.
func TestStable(t *testing.T) {
	dir := t.TempDir()
	file := "services:\n  a:\n    imagee: x\n    user: 1\n  b:\n    portss: []\n    image: 7\n"
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	_, first := load.Load(t.Context(), load.Options{Dir: dir, Schema: specification.Findings})
	if first == nil || strings.Count(first.Error(), "\n") != 3 {
		t.Fatalf("want four problems, got %v", first)
	}
	for range 20 {
		if _, err := load.Load(t.Context(), load.Options{Dir: dir, Schema: specification.Findings}); err.Error() != first.Error() {
			t.Fatalf("got %q, then %q", first, err)
		}
	}
}
