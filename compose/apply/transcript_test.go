package apply_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/apply/applytest"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestTranscripts runs the script in each archive's comment against a cluster in memory, in virtual time, and compares what was reported for
// each object, what was written, and how it ended:
//
//	behave SERVICE runs|exits CODE|sick|trouble WORDS  what its containers do from now on
//	fail N                                             the cluster breaks off after N more writes; 0: no more
//	up [wait] [timeout=D] [-f FILE] [scale=S=N] [SERVICE...]
//	stop|kill|rm [grace=D] SERVICE...
//	down [orphans] [grace=D] [only=SERVICE,...]
//	after D                                            time passes
func TestTranscripts(t *testing.T) {
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
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var out strings.Builder
			synctest.Test(t, func(t *testing.T) {
				s := &script{t: t, dir: dir, out: &out, cluster: applytest.New()}
				s.cluster.Now = time.Now()
				for line := range strings.Lines(string(archive.Comment)) {
					if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
						s.run(line)
					}
				}
			})
			testkit.GoldenPart(t, file, "want", strings.ReplaceAll(out.String(), dir, "DIR"))
		})
	}
}

type script struct {
	t       *testing.T
	dir     string
	out     *strings.Builder
	cluster *applytest.Fake
	order   []string // objects, as they were first heard of
	heard   map[string][]string
}

// report collects progress by object: what happens to several at once has no order among them.
func (s *script) report(e apply.Event) {
	if s.heard[e.Object] == nil {
		s.order = append(s.order, e.Object)
	}
	word := e.Status
	if e.State != apply.Working {
		word += map[apply.State]string{apply.Done: ".", apply.Failed: "!"}[e.State]
	}
	if e.Detail != "" {
		word += " (" + e.Detail + ")"
	}
	s.heard[e.Object] = append(s.heard[e.Object], word)
}

func (s *script) run(line string) {
	fmt.Fprintf(s.out, "> %s\n", line)
	s.order, s.heard = nil, map[string][]string{}
	s.cluster.Writes()
	words := strings.Fields(line)
	began := time.Now()
	err := s.do(words[0], words[1:])
	slices.Sort(s.order)
	for _, object := range s.order {
		fmt.Fprintf(s.out, "%s: %s\n", object, strings.Join(s.heard[object], " "))
	}
	writes := s.cluster.Writes()
	slices.Sort(writes)
	for _, w := range writes {
		fmt.Fprintf(s.out, "  %s\n", w)
	}
	if took := time.Since(began); took > 0 && words[0] != "after" {
		fmt.Fprintf(s.out, "took %s\n", took.Round(time.Second))
	}
	if err != nil {
		fmt.Fprintf(s.out, "error: %v\n", err)
	}
}

func (s *script) do(verb string, words []string) error {
	switch verb {
	case "behave":
		s.behave(words)
	case "fail":
		s.cluster.FailAfter, _ = strconv.Atoi(words[0])
	case "after":
		d, _ := time.ParseDuration(words[0])
		time.Sleep(d)
		s.cluster.Now = time.Now()
	case "up":
		return s.up(words)
	case "stop", "kill", "rm":
		return s.stop(verb, words)
	case "down":
		return s.down(words)
	default:
		s.t.Fatalf("no such command: %s", verb)
	}
	return nil
}

func (s *script) behave(words []string) {
	b := applytest.Behaviour{}
	switch words[1] {
	case "exits":
		code, _ := strconv.Atoi(words[2])
		b.Exits, b.ExitCode = true, int32(code)
	case "sick":
		b.Sick = true
	case "trouble":
		b.Trouble = strings.Join(words[2:], " ")
	}
	s.cluster.Behaviours[words[0]] = b
}

func (s *script) project(file string) *model.Project {
	source := load.Options{Dir: s.dir, ProjectName: "proj", Env: map[string]string{}}
	if file != "" {
		source.Files = []string{file}
	}
	r, err := load.Load(s.t.Context(), source)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Project
}

func (s *script) up(words []string) error {
	opts := apply.UpOptions{OnStart: func() { fmt.Fprintln(s.out, "the cluster knows") }}
	wishes := plan.Options{VolumeRoot: "/volumes", Scale: map[string]int{}}
	file := ""
	for _, word := range words {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "wait":
			opts.Wait = true
		case "timeout":
			opts.Timeout, _ = time.ParseDuration(value)
		case "file":
			file = value
		case "orphans":
			wishes.RemoveOrphans = true
		case "recreate":
			wishes.ForceRecreate = true
		case "scale":
			service, n, _ := strings.Cut(value, "=")
			wishes.Scale[service], _ = strconv.Atoi(n)
		default:
			wishes.Services = append(wishes.Services, word)
		}
	}
	project := s.project(file)
	state, err := s.cluster.State(s.t.Context(), "proj", apply.Everything())
	if err != nil {
		return err
	}
	p, err := plan.Up(project, state, wishes)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Hour) // virtual: what never comes must not hold up the test
	defer cancel()
	return apply.Up(ctx, s.cluster, project, p, opts, s.report)
}

func grace(words []string) (services []string, wish *time.Duration) {
	for _, word := range words {
		if value, ok := strings.CutPrefix(word, "grace="); ok {
			d, _ := time.ParseDuration(value)
			wish = &d
			continue
		}
		services = append(services, word)
	}
	return services, wish
}

func (s *script) stop(verb string, words []string) error {
	services, wish := grace(words)
	opts := apply.StopOptions{Grace: wish, Remove: verb == "rm"}
	if verb == "kill" {
		opts.Grace, opts.Words = new(time.Duration), "Killing"
	}
	state, err := s.cluster.State(s.t.Context(), "proj", apply.Everything())
	if err != nil {
		return err
	}
	return apply.Stop(s.t.Context(), s.cluster, "proj", services, state, opts, s.report)
}

func (s *script) down(words []string) error {
	words, wish := grace(words)
	opts := apply.DownOptions{Grace: wish}
	for _, word := range words {
		if list, ok := strings.CutPrefix(word, "only="); ok {
			opts.Services = strings.Split(list, ",")
		}
		opts.Orphans = opts.Orphans || word == "orphans"
	}
	left, err := apply.Down(s.t.Context(), s.cluster, "proj", opts, s.report)
	if len(left) > 0 {
		fmt.Fprintf(s.out, "left: %s\n", strings.Join(left, " "))
	}
	return err
}
