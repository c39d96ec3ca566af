// Package compose is the verbs of docker-compose: `cuppa up`, `cuppa compose up` and `docker-compose up` are the same code.
//
// Each verb has a file of its own, which parses flags and prints; what to do is decided in compose/plan and done in compose/apply. The words,
// columns and exit codes are docker compose's. Start with Verbs, the table of them all; ps.go is the smallest living example.
package compose

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/cli/build"
	"github.com/cuppa-project/cuppa/cli/socket"
	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Engine is the part of the engine's socket that the verbs need.
type Engine interface {
	Images(ctx context.Context) ([]socket.Image, error)
	Inspect(ctx context.Context, name string) (*socket.Detail, error)
	Pull(ctx context.Context, ref string, progress func(socket.Message)) error
	Remove(ctx context.Context, name string, force bool) ([]socket.Removed, error)
	RemoveVolume(ctx context.Context, name string) error
}

// Config is what the verbs need of the world. All of it is given, so that tests give other things.
type Config struct {
	Streams *streams.Streams
	Dir     string
	Env     map[string]string
	Version string
	// DataDir is where the node keeps its state. Flags before the verb may set it.
	DataDir func() string
	// Connect returns the cluster. It does not contact it.
	Connect func() (apply.Target, *rest.Config, error)
	Engine  Engine
	// Load reads a project's files.
	Load func(ctx context.Context, opts load.Options) (*load.Result, error)
	// Build builds images, all at once.
	Build build.Func
	// StartServer starts a server on this machine in the background. Nil if there is none to start.
	StartServer func(ctx context.Context) error
	// Interrupts delivers SIGINT and SIGTERM. A verb that does not read them is ended by them.
	Interrupts <-chan os.Signal
	// Processes tells the processes of a container of this node. Nil if nobody knows.
	Processes func(containerID string) []Process
	// Listening tells which of these ports programs of this machine hold, for `up` to say so before it begins.
	Listening func(ports []int32) []plan.Taken
	Now       func() time.Time
}

// Exit ends the program with a code. A text has been printed already, or Text is printed now.
type Exit struct {
	Code int
	Text string
}

func (e *Exit) Error() string { return e.Text }

// session is one invocation: the configuration and the flags that come before the verb.
type session struct {
	Config
	files, envFiles, profiles []string
	project, projectDir       string
	ansi, progress            string
	early                     *early
	dryRun                    bool
}

// Add puts the verbs and the flags before them on a command. Of verbs that the words do not name there is only what the help lists: the flags of
// all cost as much as the rest of a command's start.
func Add(cmd *cobra.Command, cfg Config, words []string) {
	s := &session{Config: cfg}
	f := cmd.Flags()
	f.StringArrayVarP(&s.files, "file", "f", nil, "Compose configuration files")
	f.StringVarP(&s.project, "project-name", "p", "", "Project name")
	f.StringArrayVar(&s.profiles, "profile", nil, "Specify a profile to enable")
	f.StringVar(&s.projectDir, "project-directory", "", "Specify an alternate working directory")
	f.StringArrayVar(&s.envFiles, "env-file", nil, "Specify an alternate environment file")
	f.StringVar(&s.ansi, "ansi", cfg.Env["COMPOSE_ANSI"], `Control when to print ANSI control characters ("never"|"always"|"auto")`)
	f.StringVar(&s.progress, "progress", cfg.Env["COMPOSE_PROGRESS"], "Set type of progress output (auto, tty, plain, quiet)")
	noEffectText(f, "parallel", "", "the cluster decides what goes on at the same time")
	noEffect(f, "compatibility", "limits below `deploy` count in every mode")
	f.BoolVar(&s.dryRun, "dry-run", false, "Print what would be done")
	for _, v := range Verbs() {
		if !slices.Contains(words, v.name) {
			cmd.AddCommand(&cobra.Command{Use: v.name, Short: v.short, GroupID: groupID, Run: func(*cobra.Command, []string) {}})
			continue
		}
		sub := v.make(s)
		sub.Short = v.short
		sub.GroupID = groupID
		inner := sub.RunE
		sub.RunE = func(cmd *cobra.Command, args []string) error {
			// A verb lives for milliseconds: collecting its garbage takes longer than it would.
			debug.SetGCPercent(400)
			if s.ansi != "" {
				s.Streams.Ansi = s.ansi
			}
			s.warnNoEffect(cmd)
			return s.explain(inner(cmd, args))
		}
		if strings.Contains(sub.Use, "SERVICE") {
			sub.ValidArgsFunction = s.complete
		}
		cmd.AddCommand(sub)
	}
}

// complete offers the services of the project to the shell.
func (s *session) complete(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	r, err := s.Load(cmd.Context(), s.options(nil))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, name := range r.Project.Names() {
		if strings.HasPrefix(name, word) && !slices.Contains(args, name) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

const groupID = "compose"

// Group is the heading the verbs appear under.
func Group() *cobra.Group { return &cobra.Group{ID: groupID, Title: "Compose:"} }

// explain makes the errors of an unreachable cluster, and of another than is meant, say what to do.
func (s *session) explain(err error) error {
	var stranger x509.UnknownAuthorityError
	switch {
	case err == nil:
		return nil
	case unreachable(err):
		return errkind.New(errkind.Unavailable, "no cluster answers: start one with `cuppa up` or `cuppa server` (%w)", err)
	case errors.As(err, &stranger):
		return errkind.New(errkind.Denied, "the server that answers is another than the one meant: name its directory with --data-dir, or its kubeconfig with KUBECONFIG (%w)", err)
	}
	return err
}

func (s *session) options(services []string) load.Options {
	return load.Options{Dir: s.Dir, Files: s.files, ProjectName: s.project, ProjectDir: s.projectDir, EnvFiles: s.envFiles, Profiles: s.profiles,
		Services: services, Env: s.Env, Stdin: s.Streams.In}
}

// load reads the project, prints what is to be warned of, and checks the names of services.
func (s *session) load(ctx context.Context, services []string) (*load.Result, error) {
	r, err := s.Load(ctx, s.options(services))
	if err != nil {
		return nil, err
	}
	for _, w := range r.Warnings {
		s.warn(w)
	}
	for _, name := range services {
		if _, ok := r.Project.Service(name); !ok {
			return nil, errkind.New(errkind.NotFound, "no such service: %s", name)
		}
	}
	return r, nil
}

// name finds the project's name, which is all that many verbs need.
func (s *session) name() (string, error) {
	loc, err := load.Locate(s.options(nil))
	if err != nil {
		return "", err
	}
	return loc.Name, nil
}

func (s *session) warn(text string) {
	switch {
	case s.Streams.ErrColor():
		fmt.Fprintf(s.Streams.Err, "\x1b[33mWARNING:\x1b[0m %s\n", text)
	case s.Streams.ErrTerminal():
		fmt.Fprintf(s.Streams.Err, "WARNING: %s\n", text)
	default:
		fmt.Fprintln(s.Streams.Err, text)
	}
}

// target connects for verbs that look at what there is.
func (s *session) target() (apply.Target, error) {
	t, _, err := s.Connect()
	return t, err
}

// running reads the state of the project, and checks that the named services are part of it.
func (s *session) running(ctx context.Context, services []string, parts apply.Parts) (string, apply.Target, *plan.State, error) {
	name, err := s.name()
	if err != nil {
		return "", nil, nil, err
	}
	t, err := s.target()
	if err != nil {
		return "", nil, nil, err
	}
	parts.Deployments = true
	state, err := t.State(ctx, plan.NamespaceName(name), parts)
	if err != nil {
		return "", nil, nil, err
	}
	known := deployed(state)
	for _, service := range services {
		if slices.Contains(known, service) {
			continue
		}
		// A service of the file that was never started is none of the cluster's.
		r, err := s.Load(ctx, s.options(services))
		if err != nil {
			return "", nil, nil, errkind.New(errkind.NotFound, "no such service: %s", service)
		}
		if _, ok := r.Project.Service(service); !ok {
			return "", nil, nil, errkind.New(errkind.NotFound, "no such service: %s", service)
		}
	}
	return name, t, state, nil
}

// deployed are the services that have a Deployment, sorted.
func deployed(state *plan.State) []string {
	var out []string
	for _, d := range state.Deployments {
		out = append(out, d.Labels[api.LabelService])
	}
	slices.Sort(out)
	return out
}

// images asks the engine about the images of services, by full reference. A list that was asked for early is used once.
func (s *session) images(ctx context.Context, p *model.Project, names []string, list []socket.Image) (map[string]plan.Image, error) {
	var err error
	if list == nil {
		if list, err = s.Engine.Images(ctx); err != nil {
			return nil, err
		}
	}
	ids := map[string]string{}
	for _, img := range list {
		for _, tag := range img.RepoTags {
			ids[plan.FullRef(tag)] = img.ID
		}
	}
	wanted := map[string]string{}
	for _, name := range names {
		if service, ok := p.Service(name); ok {
			if ref := plan.ImageRef(p.Name, service); ids[ref] != "" {
				wanted[ref] = ids[ref]
			}
		}
	}
	out := map[string]plan.Image{}
	var (
		wg   sync.WaitGroup
		lock sync.Mutex
		errs []error
	)
	for ref, id := range wanted {
		wg.Go(func() {
			detail, err := s.Engine.Inspect(ctx, plan.Familiar(ref))
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("inspect image %s: %w", ref, err))
				return
			}
			out[ref] = imageOf(id, detail)
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}

func imageOf(id string, d *socket.Detail) plan.Image {
	img := plan.Image{ID: id, Entrypoint: d.Config.Entrypoint, Cmd: d.Config.Cmd}
	for p := range d.Config.ExposedPorts {
		if !strings.Contains(p, "/") {
			p += "/tcp"
		}
		img.Ports = append(img.Ports, p)
	}
	for v := range d.Config.Volumes {
		img.Volumes = append(img.Volumes, v)
	}
	slices.Sort(img.Ports)
	slices.Sort(img.Volumes)
	if h := d.Config.Healthcheck; h != nil && len(h.Test) > 0 {
		img.Health = &model.Health{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval,
			Retries: uint64(max(h.Retries, 0)), Disabled: h.Test[0] == "NONE"}
	}
	return img
}
