package compose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
)

func wait(s *session) *cobra.Command {
	var downAfter bool
	cmd := &cobra.Command{Use: "wait SERVICE [SERVICE...]", Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		project, target, _, err := s.running(cmd.Context(), args, apply.Parts{})
		if err != nil {
			return err
		}
		var code int32
		left := map[string]bool{}
		synced := false
		err = target.WatchPods(cmd.Context(), plan.NamespaceName(project), func(e apply.PodEvent) bool {
			if e.Synced {
				synced = true
			} else if slices.Contains(args, serviceOf(e.Pod)) {
				c, over := apply.ExitCode(e.Pod)
				if left[e.Pod.Name] = !over && !e.Deleted; over {
					code = c
				}
			}
			for _, running := range left {
				if running {
					return true
				}
			}
			return !synced
		})
		if err != nil {
			return err
		}
		fmt.Fprintln(s.Streams.Out, code)
		if downAfter {
			return s.down(cmd.Context(), &downFlags{}, nil)
		}
		return nil
	}}
	cmd.Flags().BoolVar(&downAfter, "down-project", false, "Drops project when the first container stops")
	return cmd
}

func events(s *session) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "events [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		project, target, _, err := s.running(cmd.Context(), args, apply.Parts{})
		if err != nil {
			return err
		}
		before := map[string]string{}
		synced := false
		return target.WatchPods(cmd.Context(), plan.NamespaceName(project), func(e apply.PodEvent) bool {
			if e.Synced {
				synced = true
				return true
			}
			if len(args) > 0 && !slices.Contains(args, serviceOf(e.Pod)) {
				return true
			}
			for _, action := range actions(before, e) {
				if synced {
					s.printEvent(project, e.Pod, action, asJSON)
				}
			}
			return true
		})
	}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Output events as a stream of json objects")
	return cmd
}

// actions says what a change of a pod means for its container. The map remembers how far each has come.
func actions(before map[string]string, e apply.PodEvent) []string {
	var out []string
	was, state := before[e.Pod.Name], "created"
	if was == "" {
		out = append(out, "create")
	}
	if _, running := apply.RunningSince(e.Pod); running {
		state = "running/" + e.Pod.Status.ContainerStatuses[0].ContainerID
	} else if _, over := apply.ExitCode(e.Pod); over {
		state = "over"
	}
	if state != was {
		switch {
		case strings.HasPrefix(state, "running/"):
			out = append(out, "start")
		case state == "over":
			out = append(out, "die")
		}
	}
	before[e.Pod.Name] = state
	if e.Deleted {
		delete(before, e.Pod.Name)
		if state != "over" {
			out = append(out, "die")
		}
		out = append(out, "destroy")
	}
	return out
}

func (s *session) printEvent(project string, pod *corev1.Pod, action string, asJSON bool) {
	id := ""
	if len(pod.Status.ContainerStatuses) > 0 {
		_, id, _ = strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	}
	image, name := plan.Familiar(pod.Spec.Containers[0].Image), apply.Shown(project, pod)
	at := s.Now()
	if asJSON {
		fmt.Fprintf(s.Streams.Out, `{"time":%q,"type":"container","action":%q,"id":%q,"service":%q,"attributes":{"image":%q,"name":%q}}`+"\n",
			at.Format(time.RFC3339Nano), action, id, serviceOf(pod), image, name)
		return
	}
	fmt.Fprintf(s.Streams.Out, "%s container %s %s (name=%s, image=%s)\n", at.Format("2006-01-02 15:04:05.000000"), action, id, name, image)
}
