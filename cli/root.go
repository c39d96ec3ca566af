package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cuppa-project/cuppa/cli/compose"
	"github.com/cuppa-project/cuppa/cli/heavy"
	"github.com/cuppa-project/cuppa/cli/image"
	"github.com/cuppa-project/cuppa/cli/server"
	"github.com/cuppa-project/cuppa/cli/socket"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// root makes the command tree. As docker-compose it is the verbs of Compose alone; as cuppa it has them directly and under `compose`, and the
// rows of the table below.
func (m *program) root(name string, interrupts <-chan os.Signal) *cobra.Command {
	if name == "docker-compose" {
		return m.composeCommand(name, "Define and run multi-container applications with Cuppa", interrupts)
	}
	root := m.composeCommand("cuppa", "Runs Compose files and Kubernetes objects, on this machine or many", interrupts)
	for _, row := range m.rows(interrupts) {
		cmd := &cobra.Command{Use: row.name, Run: func(*cobra.Command, []string) {}}
		if slices.Contains(m.cfg.Args[1:], row.name) {
			cmd = row.make()
		}
		cmd.Short, cmd.PersistentPreRunE = row.short, refuseEarlier
		root.AddCommand(cmd)
	}
	return root
}

// row is one word beside the verbs of Compose. Its command is made when somebody says the word.
type row struct {
	name  string
	heavy heavy.Use // what it needs of the heavy program
	short string
	make  func() *cobra.Command
}

// rows is the table of them, in the order of help.
func (m *program) rows(interrupts <-chan os.Signal) []row {
	return []row{
		{"compose", heavy.Sometimes, "The verbs of docker-compose (they work without this word, too)", func() *cobra.Command {
			return m.composeCommand("compose", "", interrupts)
		}},
		{"image", heavy.Sometimes, "Manage the node's images", m.imageCommand}, // its verb build
		{"kubectl", heavy.Always, "The real kubectl, for this cluster", m.kubectlCommand},
		{"kubeconfig", heavy.Never, "Print the cluster's kubeconfig, for other tools", m.kubeconfigCommand},
		{"server", heavy.Sometimes, "Run the control plane and the node of this machine", m.serverCommand}, // to be a server, and to clean up after one
	}
}

// refuseEarlier refuses flags of Compose that stand before another word, where they would be lost. The node's folders may stand there.
func refuseEarlier(cmd *cobra.Command, _ []string) error {
	var lost error
	cmd.Root().Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "data-dir" && f.Name != "run-dir" && cmd != cmd.Root() {
			lost = errkind.New(errkind.Invalid, "--%s has no effect on `%s`: it is for the verbs of Compose, which take it before their word", f.Name, cmd.CommandPath())
		}
	})
	return lost
}

// composeCommand is a command with the verbs of Compose and the flags before them.
func (m *program) composeCommand(name, short string, interrupts <-chan os.Signal) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short, SilenceErrors: true, SilenceUsage: true, TraverseChildren: true,
		SuggestionsMinimumDistance: 2, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.Version = m.cfg.Version
	cmd.SetVersionTemplate("Cuppa Compose version {{.Version}}\n")
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&m.dirs.Data, "data-dir", m.dirs.Data, "Where the node keeps its state")
	cmd.Flags().StringVar(&m.dirs.Run, "run-dir", m.dirs.Run, "Where the node has its sockets")
	cmd.AddGroup(compose.Group())
	compose.Add(cmd, m.compose(interrupts), m.cfg.Args[1:])
	return cmd
}

func unknown(cmd *cobra.Command, word string) error {
	text := fmt.Sprintf("unknown command: %q", cmd.CommandPath()+" "+word)
	if like := cmd.SuggestionsFor(word); len(like) > 0 {
		text += fmt.Sprintf(" (did you mean %q?)", like[0])
	}
	return errkind.New(errkind.Invalid, "%s", text)
}

func (m *program) imageCommand() *cobra.Command {
	return image.Command(image.Config{Streams: m.streams, Engine: &lazyEngine{dirs: &m.dirs}, Now: time.Now, Build: m.build})
}

// kubectlCommand is for help and completion, and for flags of ours before the word: without those Main goes to kubectl directly.
func (m *program) kubectlCommand() *cobra.Command {
	return &cobra.Command{Use: "kubectl", DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			return m.kubectl(args)
		}}
}

// serverCommand is `cuppa server`. Being one, and cleaning up after one, is the heavy program's; it takes the same flags.
func (m *program) serverCommand() *cobra.Command {
	become := func(_ context.Context, _ server.Options, args []string) error {
		return m.cfg.Heavy.Exec(append([]string{"cuppa", heavy.Server}, args...), m.cfg.Env)
	}
	return server.Command(server.Config{DataDir: &m.dirs.Data, RunDir: &m.dirs.Run, Serve: become, Clean: become, Launch: m.launch})
}

func (m *program) kubeconfigCommand() *cobra.Command {
	return &cobra.Command{Use: "kubeconfig", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			f, err := os.Open(m.dirs.Kubeconfig())
			if os.IsNotExist(err) {
				return errkind.New(errkind.NotFound, "there is no cluster on this machine yet (no %s): start one with `cuppa server` or `cuppa up`", m.dirs.Kubeconfig())
			}
			if errors.Is(err, fs.ErrPermission) {
				return notYours(m.dirs.Kubeconfig())
			}
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(m.cfg.Out, f)
			return err
		}}
}

// lazyEngine looks where the socket is only when it is used, for flags may say so.
type lazyEngine struct {
	dirs *Dirs
	once sync.Once
	made *socket.Client
}

func (e *lazyEngine) client() *socket.Client {
	e.once.Do(func() { e.made = socket.New(e.dirs.Socket()) })
	return e.made
}

func (e *lazyEngine) Images(ctx context.Context) ([]socket.Image, error) {
	return e.client().Images(ctx)
}

func (e *lazyEngine) Inspect(ctx context.Context, name string) (*socket.Detail, error) {
	return e.client().Inspect(ctx, name)
}

func (e *lazyEngine) Pull(ctx context.Context, ref string, progress func(socket.Message)) error {
	return e.client().Pull(ctx, ref, progress)
}

func (e *lazyEngine) Load(ctx context.Context, archive io.Reader, progress func(socket.Message)) error {
	return e.client().Load(ctx, archive, progress)
}

func (e *lazyEngine) Save(ctx context.Context, names []string) (io.ReadCloser, error) {
	return e.client().Save(ctx, names)
}

func (e *lazyEngine) Tag(ctx context.Context, name, target string) error {
	return e.client().Tag(ctx, name, target)
}

func (e *lazyEngine) Remove(ctx context.Context, name string, force bool) ([]socket.Removed, error) {
	return e.client().Remove(ctx, name, force)
}

func (e *lazyEngine) RemoveVolume(ctx context.Context, name string) error {
	return e.client().RemoveVolume(ctx, name)
}
