package compose

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func stop(s *session) *cobra.Command {
	var timeout int
	cmd := &cobra.Command{Use: "stop [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		return s.stop(cmd.Context(), args, apply.StopOptions{Grace: grace(cmd, timeout)})
	}}
	cmd.Flags().IntVarP(&timeout, "timeout", "t", 0, "Specify a shutdown timeout in seconds")
	return cmd
}

// stop ends the containers of services, dependants first. The logs go with them; the services stay, and `start` brings them back.
func (s *session) stop(ctx context.Context, args []string, opts apply.StopOptions) error {
	project, target, state, err := s.running(ctx, args, apply.Parts{Pods: true})
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = deployed(state)
	}
	p := s.begin("stop")
	defer p.end()
	for _, level := range apply.StopOrder(state.Deployments) {
		level = slices.DeleteFunc(level, func(name string) bool { return !slices.Contains(args, name) })
		if err := apply.Stop(ctx, target, project, level, state, opts, p.event); err != nil {
			return err
		}
	}
	return nil
}

func kill(s *session) *cobra.Command {
	var signal string
	var orphans bool
	cmd := &cobra.Command{Use: "kill [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		if signal != "SIGKILL" && signal != "KILL" && signal != "9" {
			return s.signal(cmd.Context(), args, signal)
		}
		_, _, state, err := s.running(cmd.Context(), args, apply.Parts{Pods: true})
		if err != nil {
			return err
		}
		if len(state.Pods) == 0 {
			fmt.Fprintln(s.Streams.Err, "No container to kill")
			return nil
		}
		none := time.Duration(0)
		return s.stop(cmd.Context(), args, apply.StopOptions{Grace: &none, Words: "Killing"})
	}}
	cmd.Flags().StringVarP(&signal, "signal", "s", "SIGKILL", "SIGNAL to send to the container")
	cmd.Flags().BoolVar(&orphans, "remove-orphans", false, "Accepted")
	return cmd
}

func start(s *session) *cobra.Command {
	return &cobra.Command{Use: "start [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		project, target, state, err := s.running(ctx, args, apply.Parts{Pods: true})
		if err != nil {
			return err
		}
		names := args
		if len(names) == 0 {
			names = deployed(state)
		} else {
			names = apply.WithDependencies(state.Deployments, names)
		}
		pl, none := plan.StartAgain(project, state, names)
		for _, name := range none {
			if slices.Contains(args, name) {
				return errkind.New(errkind.NotFound, "service %q has no container to start", name)
			}
		}
		p := s.begin("start")
		defer p.end()
		return apply.Up(ctx, target, &model.Project{Name: project}, pl, apply.UpOptions{}, p.event)
	}}
}

func restart(s *session) *cobra.Command {
	var timeout int
	var noDeps bool
	cmd := &cobra.Command{Use: "restart [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		project, target, state, err := s.running(ctx, args, apply.Parts{Pods: true})
		if err != nil {
			return err
		}
		names := args
		if len(names) == 0 {
			names = deployed(state)
		}
		var seconds *int64
		if d := grace(cmd, timeout); d != nil {
			n := int64(d.Seconds())
			seconds = &n
		}
		p := s.begin("restart")
		defer p.end()
		pl := plan.RestartAll(project, state, names, seconds)
		return apply.Up(ctx, target, &model.Project{Name: project}, pl, apply.UpOptions{}, p.event)
	}}
	cmd.Flags().IntVarP(&timeout, "timeout", "t", 0, "Specify a shutdown timeout in seconds")
	cmd.Flags().BoolVar(&noDeps, "no-deps", false, "Don't restart dependent services (always so)")
	return cmd
}

func rm(s *session) *cobra.Command {
	var force, stopFirst, volumes bool
	cmd := &cobra.Command{Use: "rm [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		return s.rm(cmd.Context(), args, force, stopFirst)
	}}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Don't ask to confirm removal")
	cmd.Flags().BoolVarP(&stopFirst, "stop", "s", false, "Stop the containers, if required, before removing")
	cmd.Flags().BoolVarP(&volumes, "volumes", "v", false, "Remove any anonymous volumes attached to containers (always so)")
	return cmd
}

// rm removes services that do not run, or with --stop any, and one-off containers that have ended.
func (s *session) rm(ctx context.Context, args []string, force, stopFirst bool) error {
	project, target, state, err := s.running(ctx, args, apply.Parts{Pods: true, Services: true})
	if err != nil {
		return err
	}
	var names, shown []string
	rows := containers(project, state, s.Now())
	for _, name := range deployed(state) {
		mine := slices.DeleteFunc(slices.Clone(rows), func(r containerRow) bool { return r.Service != name || r.number == 0 })
		runs := slices.ContainsFunc(mine, func(r containerRow) bool { return r.State != "exited" })
		if len(args) > 0 && !slices.Contains(args, name) || runs && !stopFirst {
			continue
		}
		names = append(names, name)
		for _, r := range mine {
			shown = append(shown, r.Name)
		}
	}
	var oneOffs []*corev1.Pod
	for _, r := range rows {
		if r.number == 0 && r.State == "exited" && (len(args) == 0 || slices.Contains(args, r.Service)) {
			oneOffs = append(oneOffs, r.pod)
			shown = append(shown, r.Name)
		}
	}
	if len(shown) == 0 {
		fmt.Fprintln(s.Streams.Err, "No stopped containers")
		return nil
	}
	fmt.Fprintf(s.Streams.Out, "Going to remove %s\n", strings.Join(shown, ", "))
	if !force && !s.confirm("Are you sure? [yN] ") {
		return nil
	}
	p := s.begin("rm")
	defer p.end()
	if err := apply.Stop(ctx, target, project, names, state, apply.StopOptions{Remove: true}, p.event); err != nil {
		return err
	}
	for _, svc := range state.Services {
		if slices.Contains(names, svc.Labels[api.LabelService]) {
			if err := target.Delete(ctx, "Service", svc.Namespace, svc.Name, nil); err != nil {
				return err
			}
		}
	}
	for _, pod := range oneOffs {
		p.event(apply.Event{Object: "Container " + pod.Name, Status: "Removing"})
		if err := target.Delete(ctx, "Pod", pod.Namespace, pod.Name, nil); err != nil {
			return err
		}
		p.event(apply.Event{Object: "Container " + pod.Name, Status: "Removed", State: apply.Done})
	}
	return nil
}

// confirm asks a question that only y or yes answers.
func (s *session) confirm(question string) bool {
	fmt.Fprint(s.Streams.Out, question)
	var answer string
	_, _ = fmt.Fscanln(s.Streams.In, &answer) // no answer is no
	return answer == "y" || answer == "Y" || answer == "yes"
}
