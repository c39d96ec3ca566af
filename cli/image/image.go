// Package image is the verbs of `cuppa image`: what images there are on this node, and getting them in and out.
//
// Each verb is a few lines over the engine's socket. Start with Command.
package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cuppa-project/cuppa/cli/build"
	"github.com/cuppa-project/cuppa/cli/socket"
	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Engine is the part of the engine's socket that these verbs need.
type Engine interface {
	Images(ctx context.Context) ([]socket.Image, error)
	Pull(ctx context.Context, ref string, progress func(socket.Message)) error
	Load(ctx context.Context, archive io.Reader, progress func(socket.Message)) error
	Save(ctx context.Context, names []string) (io.ReadCloser, error)
	Tag(ctx context.Context, name, target string) error
	Remove(ctx context.Context, name string, force bool) ([]socket.Removed, error)
}

// Config is what the verbs need of the world.
type Config struct {
	Streams *streams.Streams
	Engine  Engine
	Build   build.Func
	Now     func() time.Time
}

// Command is `cuppa image` with its verbs.
func Command(cfg Config) *cobra.Command {
	cmd := &cobra.Command{Use: "image"}
	verbs := []struct {
		short string
		make  func(Config) *cobra.Command
	}{
		{"List images", list},
		{"Load images from a tar archive", load},
		{"Save images to a tar archive", save},
		{"Download an image from a registry", pull},
		{"Remove images", remove},
		{"Give an image one more name", tag},
		{"Build an image from a Dockerfile", buildVerb},
	}
	for _, v := range verbs {
		sub := v.make(cfg)
		sub.Short = v.short
		cmd.AddCommand(sub)
	}
	return cmd
}

func list(cfg Config) *cobra.Command {
	var quiet, all bool
	cmd := &cobra.Command{Use: "ls [NAME]", Aliases: []string{"list"}, Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		images, err := cfg.Engine.Images(cmd.Context())
		if err != nil {
			return err
		}
		table := [][]string{{"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"}}
		var ids []string
		for _, img := range images {
			id := strings.TrimPrefix(img.ID, "sha256:")
			id = id[:min(12, len(id))]
			tags := slices.Clone(img.RepoTags)
			slices.Sort(tags)
			if len(tags) == 0 {
				if !all {
					continue
				}
				tags = []string{"<none>:<none>"}
			}
			for _, t := range tags {
				repo, name := split(t)
				if len(args) > 0 && args[0] != repo && args[0] != t {
					continue
				}
				ids = append(ids, id)
				table = append(table, []string{repo, name, id, streams.Duration(cfg.Now().Sub(time.Unix(img.Created, 0))) + " ago", streams.Size(img.Size)})
			}
		}
		if quiet {
			for _, id := range slices.Compact(ids) {
				fmt.Fprintln(cfg.Streams.Out, id)
			}
			return nil
		}
		slices.SortStableFunc(table[1:], func(a, b []string) int { return strings.Compare(a[0]+":"+a[1], b[0]+":"+b[1]) })
		return streams.Table(cfg.Streams.Out, table)
	}}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Only display image IDs")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "Show images without a name too")
	return cmd
}

func split(tag string) (repo, name string) {
	if i := strings.LastIndexByte(tag, ':'); i > strings.LastIndexByte(tag, '/') {
		return tag[:i], tag[i+1:]
	}
	return tag, "latest"
}

func load(cfg Config) *cobra.Command {
	var input string
	var quiet bool
	cmd := &cobra.Command{Use: "load [FILE]", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			input = args[0]
		}
		in := cfg.Streams.In
		if input != "" && input != "-" {
			f, err := os.Open(input)
			if err != nil {
				return errkind.New(errkind.NotFound, "%w", err)
			}
			defer f.Close()
			in = f
		} else if cfg.Streams.InTerminal() >= 0 {
			return errkind.New(errkind.Invalid, "requested load from stdin, but stdin is a terminal: name a file, or redirect")
		}
		return cfg.Engine.Load(cmd.Context(), in, func(m socket.Message) {
			if text := strings.TrimSpace(m.Stream); text != "" {
				fmt.Fprintln(cfg.Streams.Out, text)
			}
		})
	}}
	cmd.Flags().StringVarP(&input, "input", "i", "", "Read from tar archive file, instead of STDIN")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Accepted")
	return cmd
}

func save(cfg Config) *cobra.Command {
	var output string
	cmd := &cobra.Command{Use: "save [OPTIONS] IMAGE...", Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if output == "" && cfg.Streams.OutTerminal() {
			return errkind.New(errkind.Invalid, "cowardly refusing to save to a terminal: use the -o flag or redirect")
		}
		archive, err := cfg.Engine.Save(cmd.Context(), args)
		if err != nil {
			return err
		}
		defer archive.Close()
		if output == "" || output == "-" {
			_, err = io.Copy(cfg.Streams.Out, archive)
			return err
		}
		return writeFile(output, archive)
	}}
	cmd.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	return cmd
}

// writeFile leaves either the whole file or none.
func writeFile(path string, from io.Reader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, from); err == nil {
		err = f.Sync()
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err != nil {
		_ = os.Remove(path) // half an archive is worse than none; the first error is the one to tell
	}
	return err
}

func pull(cfg Config) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{Use: "pull [OPTIONS] NAME[:TAG]", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		last := map[string]string{}
		return cfg.Engine.Pull(cmd.Context(), plan.FullRef(args[0]), func(m socket.Message) {
			// Piped, a layer is worth a line when its state changes, not for each of its bytes.
			if quiet || m.Status == "" || last[m.ID] == m.Status && m.ID != "" {
				return
			}
			last[m.ID] = m.Status
			if m.ID != "" {
				fmt.Fprint(cfg.Streams.Out, m.ID+": ")
			}
			fmt.Fprintln(cfg.Streams.Out, m.Status)
		})
	}}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "Suppress verbose output")
	return cmd
}

func remove(cfg Config) *cobra.Command {
	var force bool
	cmd := &cobra.Command{Use: "rm [OPTIONS] IMAGE...", Aliases: []string{"remove"}, Args: cobra.MinimumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		for _, name := range args {
			removed, err := cfg.Engine.Remove(cmd.Context(), name, force)
			if err != nil {
				return err
			}
			for _, r := range removed {
				if r.Untagged != "" {
					fmt.Fprintln(cfg.Streams.Out, "Untagged: "+r.Untagged)
				}
				if r.Deleted != "" {
					fmt.Fprintln(cfg.Streams.Out, "Deleted: "+r.Deleted)
				}
			}
		}
		return nil
	}}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "Force removal of the image")
	return cmd
}

func tag(cfg Config) *cobra.Command {
	return &cobra.Command{Use: "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		return cfg.Engine.Tag(cmd.Context(), args[0], args[1])
	}}
}

func buildVerb(cfg Config) *cobra.Command {
	var names, args []string
	var file, target, progress string
	var quiet, noCache, pullBase bool
	cmd := &cobra.Command{Use: "build [OPTIONS] PATH", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, rest []string) error {
		if len(names) == 0 {
			return errkind.New(errkind.Invalid, "an image needs a name: give one with -t")
		}
		spec := &model.Build{Context: rest[0], Dockerfile: "Dockerfile", Target: target, Args: map[string]*string{}}
		if file != "" {
			// Unlike a service's, this name counts from the working directory.
			abs, err := absolute(file)
			if err != nil {
				return err
			}
			spec.Dockerfile = abs
		}
		for _, arg := range args {
			name, value, ok := strings.Cut(arg, "=")
			if !ok {
				value, ok = cfg.Streams.Env[name]
			}
			if ok {
				spec.Args[name] = &value
			}
		}
		for _, name := range names[1:] {
			spec.Tags = append(spec.Tags, plan.FullRef(name))
		}
		b := build.Image{Ref: plan.FullRef(names[0]), Spec: spec, NoCache: noCache, Pull: pullBase}
		return cfg.Build(cmd.Context(), []build.Image{b}, build.Options{Progress: progress, Quiet: quiet})
	}}
	fl := cmd.Flags()
	fl.StringArrayVarP(&names, "tag", "t", nil, "Name and optionally a tag (NAME:TAG)")
	fl.StringArrayVar(&args, "build-arg", nil, "Set build-time variables")
	fl.StringVarP(&file, "file", "f", "", `Name of the Dockerfile (default is "PATH/Dockerfile")`)
	fl.StringVar(&target, "target", "", "Set the target build stage to build")
	fl.StringVar(&progress, "progress", "auto", "Set type of progress output (auto, plain, tty, quiet)")
	fl.BoolVarP(&quiet, "quiet", "q", false, "Suppress the build output")
	fl.BoolVar(&noCache, "no-cache", false, "Do not use cache when building the image")
	fl.BoolVar(&pullBase, "pull", false, "Always attempt to pull all referenced images")
	return cmd
}

func absolute(path string) (string, error) {
	if strings.HasPrefix(path, "/") {
		return path, nil
	}
	dir, err := os.Getwd()
	return dir + "/" + path, err
}
