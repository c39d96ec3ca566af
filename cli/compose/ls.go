package compose

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

func ls(s *session) *cobra.Command {
	var all, quiet bool
	var format string
	cmd := &cobra.Command{Use: "ls [OPTIONS]", RunE: func(cmd *cobra.Command, _ []string) error {
		t, err := s.target()
		if err != nil {
			return err
		}
		cluster, ok := t.(apply.Projects)
		if !ok {
			return errkind.New(errkind.Internal, "this cluster cannot list projects")
		}
		list, err := cluster.Projects(cmd.Context())
		if err != nil {
			return err
		}
		type row struct{ Name, Status, ConfigFiles string }
		table := [][]string{{"NAME", "STATUS", "CONFIG FILES"}}
		rows := []row{}
		for _, ns := range list {
			state, err := t.State(cmd.Context(), ns.Name, apply.Parts{Pods: true, Deployments: true})
			if err != nil {
				return err
			}
			running := 0
			for _, c := range containers(ns.Labels[api.LabelProject], state, s.Now()) {
				if c.State == "running" {
					running++
				}
			}
			status := fmt.Sprintf("running(%d)", running)
			if running == 0 {
				if !all {
					continue
				}
				status = "exited"
			}
			r := row{ns.Labels[api.LabelProject], status, ns.Annotations[plan.AnnotationFiles]}
			rows = append(rows, r)
			table = append(table, []string{r.Name, r.Status, r.ConfigFiles})
		}
		switch {
		case quiet:
			for _, r := range rows {
				fmt.Fprintln(s.Streams.Out, r.Name)
			}
			return nil
		case format == "json":
			return json.NewEncoder(s.Streams.Out).Encode(rows)
		}
		return streams.Table(s.Streams.Out, table)
	}}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Show all stopped Compose projects")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display project names")
	cmd.Flags().StringVar(&format, "format", "table", `Format the output. Values: [table | json]`)
	return cmd
}
