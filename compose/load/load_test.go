package load_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/cuppa-project/cuppa/compose/load"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden loads each archive of testdata and compares what comes out: warnings, then the errors or the hashes of the services. The
// comment of an archive may hold "profiles=a,b" or "services=a".
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
			want := -1
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = i
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
			got := strings.ReplaceAll(describe(t, dir, string(archive.Comment)), dir, "DIR")
			if *update {
				if want < 0 {
					archive.Files = append(archive.Files, txtar.File{Name: "want"})
					want = len(archive.Files) - 1
				}
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want < 0 {
				t.Fatal("no section named want: run with -update")
			}
			if diff := cmp.Diff(string(archive.Files[want].Data), got); diff != "" {
				t.Errorf("difference (-want +got):\n%s", diff)
			}
		})
	}
}

func describe(t *testing.T, dir, comment string) string {
	opts := load.Options{Dir: dir, Env: map[string]string{"HOME": "/root", "SHELL_SET": "shell"}}
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
	out.WriteString("project " + r.Project.Name + "\n")
	for _, s := range r.Project.Services {
		out.WriteString("service " + s.Name + " " + s.Image)
		if s.Build != nil {
			out.WriteString(" build " + s.Build.Context + " " + s.Build.Dockerfile)
		}
		for _, d := range s.DependsOn {
			out.WriteString(" after " + d.Service + ":" + d.Condition)
		}
		for k, v := range s.Env {
			if v != nil && len(s.Env) == 1 {
				out.WriteString(" env " + k + "=" + *v)
			}
		}
		for _, m := range s.Mounts {
			out.WriteString(" mount " + m.Kind + ":" + m.Source + ":" + m.Target)
		}
		out.WriteString("\n")
	}
	return out.String()
}

// TestStable loads the same faulty file many times: the order of what is reported must not depend on that of a map.
func TestStable(t *testing.T) {
	dir := t.TempDir()
	file := "services:\n  a:\n    imagee: x\n    user: 1\n  b:\n    portss: []\n    image: 7\n"
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	_, first := load.Load(t.Context(), load.Options{Dir: dir})
	if first == nil || strings.Count(first.Error(), "\n") != 3 {
		t.Fatalf("want four problems, got %v", first)
	}
	for range 20 {
		if _, err := load.Load(t.Context(), load.Options{Dir: dir}); err.Error() != first.Error() {
			t.Fatalf("got %q, then %q", first, err)
		}
	}
}
