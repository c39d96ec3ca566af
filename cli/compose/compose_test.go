package compose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/cli/build"
	"github.com/cuppa-project/cuppa/cli/compose"
	"github.com/cuppa-project/cuppa/cli/socket"
	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/apply/applytest"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/load/specification"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestTranscripts runs the commands in each archive's comment against a cluster in memory and compares what a user sees: lines of stdout
// begin with O|, of stderr with E|, and an exit code other than 0 ends the answer. A line that begins with "!" sets the scene:
//
//	! image NAME ID           an image is on the node
//	! behave SERVICE KIND...  its containers exit (exits CODE), are sick, or cannot start (trouble TEXT)
//	! log SERVICE TEXT        a line its containers have written
//	! exit SERVICE N CODE     a running container ends
//	! interrupt               the next command gets an interrupt once it is attached
//	! wait DURATION           time passes
//	! taken PORT BY           a program of this machine holds a port
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, archive)
			for line := range strings.Lines(string(archive.Comment)) {
				w.line(strings.TrimSpace(line))
			}
			got := strings.ReplaceAll(w.out.String(), w.dir, "DIR")
			testkit.Golden(t, name+".golden", regexp.MustCompile(`run-[0-9a-f]{12}`).ReplaceAllString(got, "run-HEX"))
		})
	}
}

type world struct {
	t          *testing.T
	dir        string
	cluster    *applytest.Fake
	engine     *engine
	taken      []plan.Taken
	interrupts chan os.Signal
	interrupt  bool
	out        strings.Builder
}

func newWorld(t *testing.T, archive *txtar.Archive) *world {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	for _, f := range archive.Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &world{t: t, dir: dir, cluster: applytest.New(), engine: &engine{images: map[string]string{}}, interrupts: make(chan os.Signal)}
}

func (w *world) line(line string) {
	words := strings.Fields(line)
	switch {
	case len(words) == 0:
	case words[0] == "!":
		w.scene(words[1], words[2:])
	default:
		fmt.Fprintf(&w.out, "$ %s\n", line)
		w.command(words)
	}
}

func (w *world) scene(verb string, args []string) {
	w.t.Helper()
	switch verb {
	case "image":
		w.engine.images[args[0]] = args[1]
	case "log":
		w.cluster.LogLines[args[0]] += strings.Join(args[1:], " ") + "\n"
	case "exit":
		n, _ := strconv.Atoi(args[1])
		code, _ := strconv.Atoi(args[2])
		w.cluster.Exit("shop", args[0], n, int32(code))
	case "behave":
		b := applytest.Behaviour{Sick: args[1] == "sick", Exits: args[1] == "exits"}
		if b.Exits {
			code, _ := strconv.Atoi(args[2])
			b.ExitCode = int32(code)
		}
		if args[1] == "trouble" {
			b.Trouble = strings.Join(args[2:], " ")
		}
		w.cluster.Behaviours[strings.ReplaceAll(args[0], "/", " ")] = b
	case "interrupt":
		w.interrupt = true
	case "wait":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			w.t.Fatal(err)
		}
		w.cluster.Now = w.cluster.Now.Add(d)
	case "taken":
		port, _ := strconv.Atoi(args[0])
		w.taken = append(w.taken, plan.Taken{Port: int32(port), Protocol: corev1.ProtocolTCP, By: strings.Join(args[1:], " ")})
	default:
		w.t.Fatalf("no such scene: %s", verb)
	}
}

func (w *world) command(words []string) {
	var out, errs bytes.Buffer
	env := map[string]string{}
	s := &streams.Streams{In: strings.NewReader(""), Out: &out, Err: &errs, Env: env}
	if w.interrupt {
		w.interrupt = false
		s.Out = &trigger{Writer: &out, on: "hello from b", fire: func() { go func() { w.interrupts <- os.Interrupt }() }}
	}
	root := &cobra.Command{Use: "cuppa", SilenceErrors: true, SilenceUsage: true, TraverseChildren: true}
	root.AddGroup(compose.Group())
	compose.Add(root, compose.Config{
		Streams: s, Dir: w.dir, Env: env, Version: "1.2.3", DataDir: func() string { return "/data" }, Engine: w.engine, Interrupts: w.interrupts,
		Connect: func() (apply.Target, *rest.Config, error) { return w.cluster, nil, nil },
		Load: func(ctx context.Context, opts load.Options) (*load.Result, error) {
			opts.Schema = specification.Findings
			return load.Load(ctx, opts)
		},
		Build: func(_ context.Context, builds []build.Image, _ build.Options) error {
			for _, b := range builds {
				fmt.Fprintf(&out, "#1 [%s internal] load build definition from Dockerfile\n", b.Service)
				w.engine.images[plan.Familiar(b.Ref)] = "sha256:built-" + b.Service
			}
			return nil
		},
		Listening: func([]int32) []plan.Taken { return w.taken },
		Now:       func() time.Time { return w.cluster.Now },
	}, words)
	root.SetArgs(words)
	root.SetOut(&out)
	root.SetErr(&errs)
	err := root.ExecuteContext(w.t.Context())
	code := 0
	var exit *compose.Exit
	if errors.As(err, &exit) {
		code = exit.Code
	} else if err != nil {
		code = 1
		fmt.Fprintln(&errs, err)
	}
	lines := slices.Collect(strings.Lines(out.String()))
	if words[0] == "up" {
		// Containers in the foreground write when they like: the order of their lines is not ours.
		slices.Sort(lines)
	}
	w.show("O| ", strings.Join(lines, ""))
	progress := errs.String()
	if slices.Contains(words, "--exit-code-from") || slices.Contains(words, "--abort-on-container-exit") {
		// Whether a container is seen to have started before its end is seen to end all is a matter of luck.
		progress = regexp.MustCompile(`(?m)^.* Started\n`).ReplaceAllString(progress, "")
	}
	w.show("E| ", progress)
	if code != 0 {
		fmt.Fprintf(&w.out, "exit %d\n", code)
	}
}

func (w *world) show(prefix, text string) {
	for line := range strings.Lines(text) {
		w.out.WriteString(prefix + strings.TrimSuffix(line, "\n") + "\n")
	}
}

// trigger fires once, when a text is written.
type trigger struct {
	Writer *bytes.Buffer
	on     string
	fire   func()
}

func (t *trigger) Write(p []byte) (int, error) {
	if t.fire != nil && bytes.Contains(p, []byte(t.on)) {
		t.fire()
		t.fire = nil
	}
	return t.Writer.Write(p)
}

// engine is a node's images in memory.
type engine struct{ images map[string]string }

func (e *engine) Images(context.Context) ([]socket.Image, error) {
	var out []socket.Image
	for name, id := range e.images {
		out = append(out, socket.Image{ID: id, RepoTags: []string{name + ":latest"}, Created: 1767322000, Size: 12345678})
	}
	return out, nil
}

func (e *engine) Inspect(_ context.Context, name string) (*socket.Detail, error) {
	d := &socket.Detail{ID: "sha256:0", Os: "linux", Architecture: "amd64"}
	d.Config.Cmd = []string{"/" + strings.TrimSuffix(strings.TrimPrefix(name, "shop-"), ":latest"), "--with", "many-arguments"}
	if strings.HasPrefix(name, "redis") {
		d.Config.ExposedPorts = map[string]struct{}{"6379/tcp": {}}
	}
	return d, nil
}

func (e *engine) Pull(_ context.Context, ref string, progress func(socket.Message)) error {
	if strings.Contains(ref, "doesnotexist") {
		return errkind.New(errkind.NotFound, "pull access denied for doesnotexist, repository does not exist")
	}
	progress(socket.Message{Status: "Downloading"})
	e.images[plan.Familiar(ref)] = "sha256:pulled"
	return nil
}

func (e *engine) Remove(_ context.Context, name string, _ bool) ([]socket.Removed, error) {
	delete(e.images, name)
	return nil, nil
}

func (e *engine) RemoveVolume(context.Context, string) error { return nil }
