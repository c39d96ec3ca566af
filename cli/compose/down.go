package compose

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

type downFlags struct {
	volumes, orphans bool
	rmi              string
	timeout          int
}

func down(s *session) *cobra.Command {
	var f downFlags
	cmd := &cobra.Command{
		Use: "down [OPTIONS]",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return errkind.New(errkind.Invalid, "down takes no services: it removes the project; use `rm --stop` for single services")
			}
			if f.rmi != "" && f.rmi != "all" && f.rmi != "local" {
				return errkind.New(errkind.Invalid, `invalid value for --rmi: %q: it must be "local" or "all"`, f.rmi)
			}
			return s.down(cmd.Context(), &f, grace(cmd, f.timeout))
		},
	}
	cmd.Flags().BoolVarP(&f.volumes, "volumes", "v", false, `Remove named volumes declared in the "volumes" section of the Compose file and anonymous volumes attached to containers`)
	cmd.Flags().BoolVar(&f.orphans, "remove-orphans", false, "Remove containers for services not defined in the Compose file")
	cmd.Flags().StringVar(&f.rmi, "rmi", "", `Remove images used by services. "local" remove only images that don't have a custom tag ("local"|"all")`)
	cmd.Flags().IntVarP(&f.timeout, "timeout", "t", 0, "Specify a shutdown timeout in seconds")
	return cmd
}

// grace is the value of -t, or nil if it was not given.
func grace(cmd *cobra.Command, seconds int) *time.Duration {
	if !cmd.Flags().Changed("timeout") {
		return nil
	}
	d := time.Duration(seconds) * time.Second
	return &d
}

func (s *session) down(ctx context.Context, f *downFlags, wait *time.Duration) error {
	loc, err := load.Locate(s.options(nil))
	if err != nil {
		return err
	}
	opts := apply.DownOptions{Orphans: f.orphans, Grace: wait}
	// What the file says matters for orphans and images only; a broken file must not keep anyone from cleaning up.
	r, err := s.Load(ctx, s.options(nil))
	if err == nil {
		opts.Services, opts.Known = r.Project.Names(), r.Project.Disabled
	} else if len(loc.Files) > 0 && f.rmi != "" {
		return err
	}
	target, err := s.target()
	if errors.Is(err, errNoConfig) {
		return nil
	}
	if err != nil {
		return err
	}
	var volumes []string
	if f.volumes {
		state, err := target.State(ctx, plan.NamespaceName(loc.Name), apply.Parts{Namespace: true})
		if err != nil {
			return err
		}
		if state.Namespace != nil {
			volumes = plan.Volumes(state.Namespace)
		}
	}
	p := s.begin("down")
	defer p.end()
	left, err := apply.Down(ctx, target, loc.Name, opts, p.event)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		p.event(apply.Event{Object: "Volume " + v, Status: "Removing"})
		if err := s.Engine.RemoveVolume(ctx, v); err != nil {
			p.event(apply.Event{Object: "Volume " + v, Status: "Error", State: apply.Failed})
			return fmt.Errorf("remove volume %s: %w", v, err)
		}
		p.event(apply.Event{Object: "Volume " + v, Status: "Removed", State: apply.Done})
	}
	if f.rmi != "" {
		s.removeImages(ctx, r, f.rmi, p)
	}
	if len(left) > 0 {
		s.warn(orphanText(left))
	}
	return nil
}

// removeImages removes the services' images; one that is in use elsewhere, or not there, is no error.
func (s *session) removeImages(ctx context.Context, r *load.Result, which string, p *progress) {
	for i := range r.Project.Services {
		service := &r.Project.Services[i]
		if which == "local" && (service.Build == nil || service.Image != "") {
			continue
		}
		name := plan.ImageName(r.Project.Name, service)
		if _, err := s.Engine.Remove(ctx, name, false); err == nil {
			p.event(apply.Event{Object: "Image " + name, Status: "Removed", State: apply.Done})
		}
	}
}
