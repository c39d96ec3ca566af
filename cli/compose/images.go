package compose

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cuppa-project/cuppa/cli/build"
	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func buildVerb(s *session) *cobra.Command {
	var noCache, pullBase, quiet, withDeps bool
	var args2 []string
	cmd := &cobra.Command{Use: "build [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		r, err := s.load(cmd.Context(), args)
		if err != nil {
			return err
		}
		names := args
		if len(names) == 0 {
			names = r.Project.Names()
		} else if withDeps {
			names = r.Project.WithDependencies(args)
		}
		var builds []build.Image
		for _, name := range names {
			service, _ := r.Project.Service(name)
			if service.Build == nil {
				continue
			}
			spec := *service.Build
			spec.Args = buildArgs(spec.Args, args2, s.Env)
			builds = append(builds, build.Image{Service: name, Ref: plan.ImageRef(r.Project.Name, service), Spec: &spec,
				NoCache: noCache || spec.NoCache, Pull: pullBase || spec.Pull})
		}
		if len(builds) == 0 {
			s.warn("No services to build")
			return nil
		}
		if err := s.ensureEngine(cmd.Context()); err != nil {
			return err
		}
		return s.buildAll(cmd.Context(), builds, quiet)
	}}
	fl := cmd.Flags()
	fl.BoolVar(&noCache, "no-cache", false, "Do not use cache when building the image")
	fl.BoolVar(&pullBase, "pull", false, "Always attempt to pull a newer version of the image")
	fl.BoolVarP(&quiet, "quiet", "q", false, "Suppress the build output")
	fl.BoolVar(&withDeps, "with-dependencies", false, "Also build dependencies (transitively)")
	fl.StringArrayVar(&args2, "build-arg", nil, "Set build-time variables for services")
	noEffectText(fl, "memory", "m", "the builder's memory is not limited")
	noEffect(fl, "parallel", "images are built at the same time anyway")
	noEffect(fl, "compress", "the context is not sent anywhere")
	noEffect(fl, "force-rm", "steps leave no containers behind")
	noEffect(fl, "no-rm", "steps leave no containers behind")
	noEffect(fl, "push", "pushing images is not supported")
	noEffect(fl, "check", "Dockerfiles are checked by building them")
	return cmd
}

// buildArgs adds the arguments of the command line to those of the file; one without a value takes the environment's.
func buildArgs(have map[string]*string, more []string, env map[string]string) map[string]*string {
	out := map[string]*string{}
	for k, v := range have {
		out[k] = v
	}
	for _, arg := range more {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			value, ok = env[name]
		}
		if ok {
			out[name] = &value
		}
	}
	return out
}

// ensureEngine starts a server if there is no engine to build with.
func (s *session) ensureEngine(ctx context.Context) error {
	_, err := s.Engine.Images(ctx)
	if err == nil || !unreachable(err) || s.StartServer == nil {
		return err
	}
	_, _, err = s.ensure(ctx, "default", apply.Parts{Namespace: true})
	return err
}

func pull(s *session) *cobra.Command {
	var ignoreFailures, quiet, withDeps, ignoreBuildable bool
	var policy string
	cmd := &cobra.Command{Use: "pull [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		if !slices.Contains([]string{"", "always", "missing"}, policy) {
			return errkind.New(errkind.Invalid, `--policy takes "missing" or "always", not %q`, policy)
		}
		r, err := s.load(cmd.Context(), args)
		if err != nil {
			return err
		}
		names := args
		if len(names) == 0 {
			names = r.Project.Names()
		} else if withDeps {
			names = r.Project.WithDependencies(args)
		}
		if err := s.ensureEngine(cmd.Context()); err != nil {
			return err
		}
		var needs []plan.Need
		for _, name := range names {
			service, _ := r.Project.Service(name)
			if service.Image == "" {
				fmt.Fprintf(s.Streams.Err, "%s Skipped No image to be pulled\n", name)
				continue
			}
			if service.Build != nil && ignoreBuildable {
				continue
			}
			need := plan.Need{Service: name, Name: plan.ImageName(r.Project.Name, service), Ref: plan.ImageRef(r.Project.Name, service)}
			if !slices.ContainsFunc(needs, func(o plan.Need) bool { return o.Ref == need.Ref }) {
				needs = append(needs, need)
			}
		}
		if policy == "missing" {
			have, err := s.images(cmd.Context(), r.Project, names, nil)
			if err != nil {
				return err
			}
			needs = slices.DeleteFunc(needs, func(n plan.Need) bool { _, there := have[n.Ref]; return there })
		}
		return s.pullAll(cmd.Context(), needs, quiet, ignoreFailures)
	}}
	fl := cmd.Flags()
	fl.BoolVar(&ignoreFailures, "ignore-pull-failures", false, "Pull what it can and ignores images with pull failures")
	fl.BoolVarP(&quiet, "quiet", "q", false, "Pull without printing progress information")
	fl.BoolVar(&withDeps, "include-deps", false, "Also pull services declared as dependencies")
	fl.BoolVar(&ignoreBuildable, "ignore-buildable", false, "Ignore images that can be built")
	noEffect(fl, "parallel", "images are pulled one after another")
	noEffect(fl, "no-parallel", "images are pulled one after another anyway")
	fl.StringVar(&policy, "policy", "", `Apply pull policy ("missing"|"always")`)
	return cmd
}

func images(s *session) *cobra.Command {
	var quiet bool
	var format string
	cmd := &cobra.Command{Use: "images [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		project, _, state, err := s.running(cmd.Context(), args, apply.Parts{Pods: true})
		if err != nil {
			return err
		}
		list, err := s.Engine.Images(cmd.Context())
		if err != nil {
			return err
		}
		table := [][]string{{"CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED"}}
		var ids []string
		for _, row := range containers(project, state, s.Now()) {
			if len(args) > 0 && !slices.Contains(args, row.Service) || row.pod == nil {
				continue
			}
			ref := row.pod.Spec.Containers[0].Image
			for _, img := range list {
				if !slices.ContainsFunc(img.RepoTags, func(tag string) bool { return plan.FullRef(tag) == plan.FullRef(ref) }) {
					continue
				}
				detail, err := s.Engine.Inspect(cmd.Context(), img.ID)
				if err != nil {
					return err
				}
				repo, tag := plan.Familiar(ref), "latest"
				if i := strings.LastIndexByte(repo, ':'); i > strings.LastIndexByte(repo, '/') {
					repo, tag = repo[:i], repo[i+1:]
				}
				id := strings.TrimPrefix(img.ID, "sha256:")
				ids = append(ids, id)
				table = append(table, []string{row.Name, repo, tag, detail.Os + "/" + detail.Architecture, id[:min(12, len(id))],
					streams.Size(img.Size), streams.Duration(s.Now().Sub(time.Unix(img.Created, 0))) + " ago"})
			}
		}
		if quiet {
			slices.Sort(ids)
			for _, id := range slices.Compact(ids) {
				fmt.Fprintln(s.Streams.Out, id)
			}
			return nil
		}
		return streams.Table(s.Streams.Out, table)
	}}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display IDs")
	cmd.Flags().StringVar(&format, "format", "table", `Format the output ("table")`)
	return cmd
}

func port(s *session) *cobra.Command {
	var protocol string
	var index int
	cmd := &cobra.Command{Use: "port [OPTIONS] SERVICE PRIVATE_PORT", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		project, _, state, err := s.running(cmd.Context(), args[:1], apply.Parts{Pods: true, Services: true})
		if err != nil {
			return err
		}
		for _, row := range containers(project, state, s.Now()) {
			if row.Service != args[0] || row.number != max(index, 1) {
				continue
			}
			for _, p := range row.Publishers {
				if fmt.Sprint(p.TargetPort) == args[1] && p.Protocol == protocol {
					fmt.Fprintf(s.Streams.Out, "%s:%d\n", p.URL, p.PublishedPort)
					return nil
				}
			}
			return errkind.New(errkind.NotFound, "no port %s/%s for container %s: %s", args[1], protocol, row.Name, row.Ports)
		}
		return errkind.New(errkind.NotFound, "service %q is not running", args[0])
	}}
	cmd.Flags().StringVar(&protocol, "protocol", "tcp", "tcp or udp")
	cmd.Flags().IntVar(&index, "index", 0, "Index of the container if service has multiple replicas")
	return cmd
}
