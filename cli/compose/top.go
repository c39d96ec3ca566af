package compose

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Process is one process of a container, as the node sees it.
type Process struct {
	User      string
	PID, PPID int
	Started   time.Time
	TTY       string
	CPU       time.Duration
	Command   string
}

func top(s *session) *cobra.Command {
	return &cobra.Command{Use: "top [SERVICE...]", RunE: func(cmd *cobra.Command, args []string) error {
		project, _, state, err := s.running(cmd.Context(), args, apply.Parts{Pods: true})
		if err != nil {
			return err
		}
		if s.Processes == nil {
			return errkind.New(errkind.Unavailable, "the processes of containers are not known here")
		}
		table := [][]string{{"SERVICE", "#", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"}}
		for _, row := range containers(project, state, s.Now()) {
			if row.fullID == "" || row.State != "running" || len(args) > 0 && !slices.Contains(args, row.Service) {
				continue
			}
			for _, p := range s.Processes(row.fullID) {
				share := 0
				if age := s.Now().Sub(p.Started); age > 0 {
					share = int(100 * p.CPU / age)
				}
				table = append(table, []string{row.Service, fmt.Sprint(row.number), p.User, fmt.Sprint(p.PID), fmt.Sprint(p.PPID), fmt.Sprint(share),
					p.Started.Local().Format("15:04"), p.TTY, clock(p.CPU), p.Command})
			}
		}
		if len(table) == 1 {
			return nil
		}
		return streams.Table(s.Streams.Out, table)
	}}
}

// clock writes processor time as ps does.
func clock(d time.Duration) string {
	n := int(d.Seconds())
	return fmt.Sprintf("%02d:%02d:%02d", n/3600, n/60%60, n%60)
}
