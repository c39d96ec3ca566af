package compose

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/cli/socket"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// upFlags are the flags of up; create, scale and run use some of them.
type upFlags struct {
	detach, build, noBuild, forceRecreate, noRecreate, noDeps, noStart bool
	removeOrphans, wait, quietPull, quietBuild                         bool
	abortOnExit, abortOnFailure, noColor, noPrefix, timestamps         bool
	exitCodeFrom, pull                                                 string
	scale, attach, noAttach                                            []string
	timeout, waitTimeout                                               int
	timeoutSet                                                         bool
}

func up(s *session) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use: "up [OPTIONS] [SERVICE...]",
		RunE: func(cmd *cobra.Command, args []string) error {
			f.timeoutSet = cmd.Flags().Changed("timeout")
			if f.exitCodeFrom != "" {
				f.abortOnExit = true
			}
			if f.detach && f.abortOnExit {
				return errkind.New(errkind.Invalid, "--abort-on-container-exit and --detach cannot be combined")
			}
			if f.build && f.noBuild {
				return errkind.New(errkind.Invalid, "--build and --no-build are incompatible")
			}
			return s.up(cmd.Context(), args, &f)
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.detach, "detach", "d", false, "Detached mode: Run containers in the background")
	fl.BoolVar(&f.build, "build", false, "Build images before starting containers")
	fl.BoolVar(&f.noBuild, "no-build", false, "Don't build an image, even if it's missing")
	fl.BoolVar(&f.forceRecreate, "force-recreate", false, "Recreate containers even if their configuration and image haven't changed")
	fl.BoolVar(&f.noRecreate, "no-recreate", false, "If containers already exist, don't recreate them")
	fl.BoolVar(&f.noDeps, "no-deps", false, "Don't start linked services")
	fl.BoolVar(&f.noStart, "no-start", false, "Don't start the services after creating them")
	fl.BoolVar(&f.removeOrphans, "remove-orphans", s.Env["COMPOSE_REMOVE_ORPHANS"] == "true" || s.Env["COMPOSE_REMOVE_ORPHANS"] == "1",
		"Remove containers for services not defined in the Compose file")
	fl.BoolVar(&f.wait, "wait", false, "Wait for services to be running|healthy. Implies detached mode.")
	fl.IntVar(&f.waitTimeout, "wait-timeout", 0, "Maximum duration in seconds to wait for the project to be running|healthy")
	fl.BoolVar(&f.quietPull, "quiet-pull", false, "Pull without printing progress information")
	fl.BoolVar(&f.quietBuild, "quiet-build", false, "Suppress the build output")
	fl.StringVar(&f.pull, "pull", "", `Pull image before running ("always"|"missing"|"never")`)
	fl.BoolVar(&f.abortOnExit, "abort-on-container-exit", false, "Stops all containers if any container was stopped. Incompatible with -d")
	fl.BoolVar(&f.abortOnFailure, "abort-on-container-failure", false, "Stops all containers if any container exited with failure. Incompatible with -d")
	fl.StringVar(&f.exitCodeFrom, "exit-code-from", "", "Return the exit code of the selected service container. Implies --abort-on-container-exit")
	fl.BoolVar(&f.noColor, "no-color", false, "Produce monochrome output")
	fl.BoolVar(&f.noPrefix, "no-log-prefix", false, "Don't print prefix in logs")
	fl.BoolVar(&f.timestamps, "timestamps", false, "Show timestamps")
	fl.StringArrayVar(&f.scale, "scale", nil, "Scale SERVICE to NUM instances. Overrides the scale setting in the Compose file if present.")
	fl.StringArrayVar(&f.attach, "attach", nil, "Restrict attaching to the specified services")
	fl.StringArrayVar(&f.noAttach, "no-attach", nil, "Do not attach (stream logs) to the specified services")
	fl.IntVarP(&f.timeout, "timeout", "t", 0, "Use this timeout in seconds for container shutdown when attached")
	noEffect(fl, "always-recreate-deps", "dependencies are recreated when they have changed; --force-recreate recreates all")
	noEffect(fl, "attach-dependencies", "name the services to attach to with --attach")
	noEffect(fl, "menu", "there is none")
	fl.BoolP("yes", "y", false, "Assume \"yes\" as answer to all questions (there are none)")
	fl.BoolP("renew-anon-volumes", "V", false, "Recreate anonymous volumes instead of retrieving data from the previous containers (always so)")
	return cmd
}

// up brings the project up and, unless detached, stays with it.
func (s *session) up(ctx context.Context, args []string, f *upFlags) error {
	if f.exitCodeFrom != "" && len(args) > 0 && !slices.Contains(args, f.exitCodeFrom) {
		args = append(args, f.exitCodeFrom)
	}
	defer s.lookAhead(ctx)()
	r, err := s.load(ctx, args)
	if err != nil {
		return err
	}
	if _, ok := r.Project.Service(f.exitCodeFrom); f.exitCodeFrom != "" && !ok {
		return errkind.New(errkind.NotFound, "no such service: %s", f.exitCodeFrom)
	}
	opts, err := f.planOptions(args)
	if err != nil {
		return err
	}
	ready, err := s.prepare(ctx, r, args, f, opts)
	if err != nil || s.dryRun {
		return err
	}
	if f.detach || f.wait || f.noStart {
		return s.carryOut(ctx, ready, f)
	}
	return s.attached(ctx, ready, f)
}

func (f *upFlags) planOptions(args []string) (plan.Options, error) {
	opts := plan.Options{Services: args, NoDeps: f.noDeps, ForceRecreate: f.forceRecreate, NoRecreate: f.noRecreate,
		RemoveOrphans: f.removeOrphans, NoStart: f.noStart}
	var err error
	opts.Scale, err = parseScale(f.scale)
	return opts, err
}

func parseScale(list []string) (map[string]int, error) {
	out := map[string]int{}
	for _, arg := range list {
		name, count, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, errkind.New(errkind.Invalid, "invalid scale specifier: %s (it should be SERVICE=NUM)", arg)
		}
		n, err := strconv.Atoi(count)
		if err != nil || n < 0 {
			return nil, errkind.New(errkind.Invalid, "invalid scale specifier: %s: %q is no number of containers", arg, count)
		}
		out[name] = n
	}
	return out, nil
}

// prepared is everything that is known once the images are there: what is to be done, and to whom.
type prepared struct {
	load   *load.Result
	target apply.Target
	plan   *plan.Plan
}

// prepare finds a cluster, makes sure of the images and plans. Nothing of the project has been changed when it fails.
func (s *session) prepare(ctx context.Context, r *load.Result, args []string, f *upFlags, opts plan.Options) (*prepared, error) {
	p := r.Project
	names := args
	if !f.noDeps || len(args) == 0 {
		names = p.WithDependencies(args)
	}
	var target apply.Target
	var state *plan.State
	var list []socket.Image
	if e := s.takeEarly(plan.NamespaceName(p.Name)); e != nil {
		target, state, list = e.target, e.state, e.images
	} else {
		var err error
		if target, state, err = s.ensure(ctx, plan.NamespaceName(p.Name), apply.Everything()); err != nil {
			return nil, err
		}
	}
	have, err := s.images(ctx, p, names, list)
	if err != nil {
		return nil, err
	}
	needs, err := plan.Images(p, names, have, plan.ImageOptions{Build: f.build, NoBuild: f.noBuild, Pull: f.pull})
	if err != nil {
		return nil, err
	}
	if s.dryRun {
		for _, n := range needs {
			fmt.Fprintln(s.Streams.Out, n)
		}
	} else if len(needs) > 0 {
		if err := s.provide(ctx, needs, f); err != nil {
			return nil, err
		}
		if have, err = s.images(ctx, p, names, nil); err != nil {
			return nil, err
		}
	}
	opts.Images, opts.VolumeRoot, opts.FreePorts = have, s.DataDir()+"/volumes", freePorts(p)
	state.Taken = append(state.Taken, s.listening(p, names, state)...)
	pl, err := plan.Up(p, state, opts)
	if err != nil {
		return nil, err
	}
	for _, w := range pl.Warnings {
		s.warn(w)
	}
	if len(pl.Orphans) > 0 && !opts.RemoveOrphans && s.Env["COMPOSE_IGNORE_ORPHANS"] != "true" && s.Env["COMPOSE_IGNORE_ORPHANS"] != "1" {
		s.warn(orphanText(pl.Orphans))
	}
	if s.dryRun {
		fmt.Fprint(s.Streams.Out, pl)
	}
	return &prepared{load: r, target: target, plan: pl}, nil
}

func orphanText(names []string) string {
	return fmt.Sprintf("Found orphan containers (%s) for this project. If you removed or renamed this service in your compose file, "+
		"you can run this command with the --remove-orphans flag to clean it up.", strings.Join(names, ", "))
}

// carryOut applies the plan and waits until everything has started.
func (s *session) carryOut(ctx context.Context, r *prepared, f *upFlags) error {
	p := s.begin("up")
	defer p.end()
	opts := apply.UpOptions{Wait: f.wait, Timeout: time.Duration(f.waitTimeout) * time.Second}
	return apply.Up(ctx, r.target, r.load.Project, r.plan, opts, p.event)
}

func create(s *session) *cobra.Command {
	f := upFlags{noStart: true, detach: true}
	cmd := &cobra.Command{Use: "create [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error { return s.up(cmd.Context(), args, &f) }}
	cmd.Flags().BoolVar(&f.build, "build", false, "Build images before starting containers")
	cmd.Flags().BoolVar(&f.noBuild, "no-build", false, "Don't build an image, even if it's missing")
	cmd.Flags().BoolVar(&f.forceRecreate, "force-recreate", false, "Recreate containers even if their configuration and image haven't changed")
	cmd.Flags().BoolVar(&f.removeOrphans, "remove-orphans", false, "Remove containers for services not defined in the Compose file")
	return cmd
}

func scale(s *session) *cobra.Command {
	f := upFlags{detach: true, noBuild: false}
	cmd := &cobra.Command{
		Use:  "scale [SERVICE=REPLICAS...]",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			counts, err := parseScale(args)
			if err != nil {
				return err
			}
			return s.scale(cmd.Context(), counts, &f)
		},
	}
	cmd.Flags().BoolVar(&f.noDeps, "no-deps", false, "Don't start linked services")
	return cmd
}

// scale is an `up` of the named services that keeps all else as it is, the replicas of their dependencies too.
func (s *session) scale(ctx context.Context, counts map[string]int, f *upFlags) error {
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	r, err := s.load(ctx, names)
	if err != nil {
		return err
	}
	_, state, err := s.ensure(ctx, plan.NamespaceName(r.Project.Name), apply.Parts{Deployments: true})
	if err != nil {
		return err
	}
	for _, d := range state.Deployments {
		service := d.Labels[api.LabelService]
		if _, named := counts[service]; !named && d.Spec.Replicas != nil {
			if have, ok := r.Project.Service(service); ok {
				have.Scale = int(*d.Spec.Replicas)
			}
		}
	}
	opts := plan.Options{Services: names, NoDeps: f.noDeps, Scale: counts, NoRecreate: true}
	ready, err := s.prepare(ctx, r, names, f, opts)
	if err != nil || s.dryRun {
		return err
	}
	return s.carryOut(ctx, ready, f)
}
