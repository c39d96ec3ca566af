package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

type psFlags struct {
	all, quiet, services, noTrunc bool
	format                        string
	status, filter                []string
}

func ps(s *session) *cobra.Command {
	var f psFlags
	cmd := &cobra.Command{Use: "ps [OPTIONS] [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		return s.ps(cmd.Context(), args, &f)
	}}
	cmd.Flags().BoolVarP(&f.all, "all", "a", false, "Show all stopped containers (including those created by the run command)")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "Only display IDs")
	cmd.Flags().BoolVar(&f.services, "services", false, "Display services")
	cmd.Flags().BoolVar(&f.noTrunc, "no-trunc", false, "Don't truncate output")
	cmd.Flags().Bool("orphans", true, "Include orphaned services (always so)")
	cmd.Flags().StringVar(&f.format, "format", "table", `Format output: "table" or "json"`)
	cmd.Flags().StringArrayVar(&f.status, "status", nil, "Filter services by status. Values: [running | restarting | created | exited | dead | removing | paused]")
	cmd.Flags().StringArrayVar(&f.filter, "filter", nil, "Filter services by a property (supported filters: status)")
	return cmd
}

func (s *session) ps(ctx context.Context, args []string, f *psFlags) error {
	for _, filter := range f.filter {
		status, ok := cutFilter(filter)
		if !ok {
			return errkind.New(errkind.Invalid, "arguments to --filter should be in form status=VAL, not %q", filter)
		}
		f.status = append(f.status, status)
	}
	project, _, state, err := s.running(ctx, args, apply.Parts{Pods: true, Services: true})
	if err != nil {
		return err
	}
	var rows []containerRow
	exited := 0
	for _, row := range containers(project, state, s.Now()) {
		if len(args) > 0 && !slices.Contains(args, row.Service) {
			continue
		}
		wanted := f.all && len(f.status) == 0 || slices.Contains(f.status, row.State) ||
			len(f.status) == 0 && (row.State == "running" || row.State == "restarting" || row.State == "paused")
		if wanted {
			rows = append(rows, row)
		} else if row.State == "exited" && row.number > 0 {
			exited++
		}
	}
	if err := s.printContainers(rows, f); err != nil {
		return err
	}
	if exited > 0 && len(f.status) == 0 && !f.quiet && !f.services && f.format == "table" {
		fmt.Fprintf(s.Streams.Err, "%d exited: see them with -a\n", exited)
	}
	return nil
}

func cutFilter(filter string) (string, bool) {
	const prefix = "status="
	if len(filter) < len(prefix) || filter[:len(prefix)] != prefix {
		return "", false
	}
	return filter[len(prefix):], true
}

func (s *session) printContainers(rows []containerRow, f *psFlags) error {
	switch {
	case f.quiet:
		for _, r := range rows {
			fmt.Fprintln(s.Streams.Out, r.fullID)
		}
		return nil
	case f.services:
		var names []string
		for _, r := range rows {
			names = append(names, r.Service)
		}
		slices.Sort(names)
		for _, n := range slices.Compact(names) {
			fmt.Fprintln(s.Streams.Out, n)
		}
		return nil
	case f.format == "json":
		enc := json.NewEncoder(s.Streams.Out)
		enc.SetEscapeHTML(false)
		for _, r := range rows {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	case f.format != "table":
		return errkind.New(errkind.Invalid, "unknown format %q: it is table or json", f.format)
	}
	table := [][]string{{"NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"}}
	for _, r := range rows {
		command := r.Command
		if !f.noTrunc {
			command = shorten(command, 20)
		}
		table = append(table, []string{r.Name, r.Image, `"` + command + `"`, r.Service, r.RunningFor, r.Status, r.Ports})
	}
	return streams.Table(s.Streams.Out, table)
}

// shorten cuts a text to a number of characters, the last of which then says so.
func shorten(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}
