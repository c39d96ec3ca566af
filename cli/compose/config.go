package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

type configFlags struct {
	services, images, volumes, networks, profiles, quiet, noInterpolate bool
	format, output, hash                                                string
}

func config(s *session) *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{Use: "config [OPTIONS] [SERVICE...]", Aliases: []string{"convert"}, RunE: func(cmd *cobra.Command, args []string) error {
		return s.config(cmd.Context(), args, &f)
	}}
	fl := cmd.Flags()
	fl.BoolVar(&f.services, "services", false, "Print the service names, one per line.")
	fl.BoolVar(&f.images, "images", false, "Print the image names, one per line.")
	fl.BoolVar(&f.volumes, "volumes", false, "Print the volume names, one per line.")
	fl.BoolVar(&f.networks, "networks", false, "Print the network names, one per line.")
	fl.BoolVar(&f.profiles, "profiles", false, "Print the profile names, one per line.")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "Only validate the configuration, don't print anything")
	fl.BoolVar(&f.noInterpolate, "no-interpolate", false, "Don't interpolate environment variables")
	fl.StringVar(&f.format, "format", "yaml", `Format the output: "yaml" or "json"`)
	fl.StringVarP(&f.output, "output", "o", "", "Save to file (default to stdout)")
	fl.StringVar(&f.hash, "hash", "", "Print the service config hash, one per line (SERVICE or *)")
	noEffect(fl, "no-normalize", "what is printed is always the whole model")
	noEffect(fl, "no-path-resolution", "paths are always printed in full")
	noEffect(fl, "resolve-image-digests", "images are printed as the files name them")
	return cmd
}

func (s *session) config(ctx context.Context, args []string, f *configFlags) error {
	opts := s.options(args)
	opts.NoInterpolate = f.noInterpolate
	r, err := s.Load(ctx, opts)
	if err != nil {
		return err
	}
	for _, w := range r.Warnings {
		s.warn(w)
	}
	if list, ok := configList(r, f); ok {
		slices.Sort(list)
		for _, line := range slices.Compact(list) {
			fmt.Fprintln(s.Streams.Out, line)
		}
		return nil
	}
	if f.quiet {
		return nil
	}
	project := r.Source
	if len(args) > 0 {
		if project, err = project.WithSelectedServices(args); err != nil {
			return errkind.New(errkind.NotFound, "%w", err)
		}
	}
	var out []byte
	switch f.format {
	case "yaml":
		out, err = project.MarshalYAML()
	case "json":
		if out, err = project.MarshalJSON(); err == nil {
			var pretty bytes.Buffer
			err = json.Indent(&pretty, out, "", "  ")
			out = append(pretty.Bytes(), '\n')
		}
	default:
		return errkind.New(errkind.Invalid, "unsupported format %q: it is yaml or json", f.format)
	}
	if err != nil {
		return fmt.Errorf("render the project: %w", err)
	}
	if !f.noInterpolate {
		out = bytes.ReplaceAll(out, []byte("$"), []byte("$$"))
	}
	if f.output != "" {
		return os.WriteFile(f.output, out, 0o644)
	}
	_, err = s.Streams.Out.Write(out)
	return err
}

// configList is what one of the list flags asks for.
func configList(r *load.Result, f *configFlags) ([]string, bool) {
	p := r.Project
	var out []string
	switch {
	case f.services:
		return p.Names(), true
	case f.images:
		for i := range p.Services {
			out = append(out, plan.ImageName(p.Name, &p.Services[i]))
		}
	case f.volumes:
		return r.Source.VolumeNames(), true
	case f.networks:
		return r.Source.NetworkNames(), true
	case f.profiles:
		for _, s := range r.Source.AllServices() {
			out = append(out, s.Profiles...)
		}
	case f.hash != "":
		for _, s := range p.Services {
			if f.hash == "*" || f.hash == s.Name {
				out = append(out, s.Name+" "+s.Hash(p))
			}
		}
	default:
		return nil, false
	}
	return out, true
}

func version(s *session) *cobra.Command {
	var short bool
	var format string
	cmd := &cobra.Command{Use: "version [OPTIONS]", RunE: func(*cobra.Command, []string) error {
		switch {
		case short:
			fmt.Fprintln(s.Streams.Out, s.Version)
		case format == "json":
			return json.NewEncoder(s.Streams.Out).Encode(map[string]string{"version": s.Version})
		default:
			fmt.Fprintln(s.Streams.Out, "Cuppa Compose version "+s.Version)
		}
		return nil
	}}
	cmd.Flags().BoolVar(&short, "short", false, "Shows only Compose's version number")
	cmd.Flags().StringVarP(&format, "format", "f", "pretty", `Format the output. Values: [pretty | json]`)
	return cmd
}
