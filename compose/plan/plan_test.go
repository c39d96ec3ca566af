package plan_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/apply/applytest"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/load/specification"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestGolden runs the script in each archive's comment, one command a line, against a cluster in memory, and compares the plans:
//
//	up [-f FILE] [objects] [scale=S=N] [recreate] [orphans] [nodeps] [SERVICE...]  plan, print, carry out
//	image REF ID        an image is there now
//	exit SERVICE CODE   a container ends
//	ends SERVICE CODE   from now on the service's containers end by themselves
//	project NAME        the following belongs to another project
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
			dir := filepath.Join(t.TempDir(), "proj")
			for _, f := range archive.Files {
				path := filepath.Join(dir, f.Name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s := &script{t: t, dir: dir, name: "proj", cluster: applytest.New(), images: map[string]plan.Image{}}
			for line := range strings.Lines(string(archive.Comment)) {
				s.run(strings.TrimSpace(line))
			}
			// Hashes cover the folder's name, which differs from run to run.
			got := regexp.MustCompile(`\b[0-9a-f]{32}\b`).ReplaceAllString(strings.ReplaceAll(s.out.String(), dir, "DIR"), "HASH")
			testkit.Golden(t, strings.TrimSuffix(filepath.Base(file), ".txtar")+".golden", got)
		})
	}
}

type script struct {
	t       *testing.T
	dir     string
	name    string
	cluster *applytest.Fake
	images  map[string]plan.Image
	out     strings.Builder
}

func (s *script) run(line string) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	fmt.Fprintf(&s.out, "> %s\n", line)
	switch words[0] {
	case "up":
		s.up(words[1:])
	case "image":
		s.images[plan.FullRef(words[1])] = plan.Image{ID: words[2], Cmd: []string{"run"}, Ports: []string{"6379/tcp"}, Volumes: []string{"/data"}}
	case "exit":
		code, _ := strconv.Atoi(words[2])
		s.cluster.Exit(plan.NamespaceName(s.name), words[1], 1, int32(code))
	case "ends":
		code, _ := strconv.Atoi(words[2])
		s.cluster.Behaviours[words[1]] = applytest.Behaviour{Exits: true, ExitCode: int32(code)}
	case "project":
		s.name = words[1]
	default:
		s.t.Fatalf("no such command: %s", words[0])
	}
}

func (s *script) up(words []string) {
	opts := plan.Options{VolumeRoot: "/volumes", Images: s.images, FreePorts: []int32{40001, 40002, 40003}, Scale: map[string]int{}}
	source := load.Options{Dir: s.dir, ProjectName: s.name, Env: map[string]string{}, Schema: specification.Findings}
	objects := false
	for i := 0; i < len(words); i++ {
		switch key, value, _ := strings.Cut(words[i], "="); key {
		case "-f":
			i++
			source.Files = append(source.Files, words[i])
		case "objects":
			objects = true
		case "scale":
			service, n, _ := strings.Cut(value, "=")
			opts.Scale[service], _ = strconv.Atoi(n)
		case "recreate":
			opts.ForceRecreate = true
		case "orphans":
			opts.RemoveOrphans = true
		case "nodeps":
			opts.NoDeps = true
		default:
			opts.Services = append(opts.Services, key)
		}
	}
	r, err := load.Load(s.t.Context(), source)
	if err != nil {
		s.t.Fatal(err)
	}
	state, err := s.cluster.State(s.t.Context(), plan.NamespaceName(s.name), apply.Everything())
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := plan.Up(r.Project, state, opts)
	if err != nil {
		fmt.Fprintf(&s.out, "error: %v\n", err)
		return
	}
	s.out.WriteString(p.String())
	if objects {
		s.out.WriteString(p.Objects())
	}
	// A container that waits for what never comes must not hold up the test.
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	if err := apply.Up(ctx, s.cluster, r.Project, p, apply.UpOptions{}, func(apply.Event) {}); err != nil {
		fmt.Fprintf(&s.out, "error: %v\n", err)
	}
}
