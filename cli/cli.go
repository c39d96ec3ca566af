// Package cli is the command line: it finds out what was asked, and hands it to the verb.
//
// It holds no logic of its own. Doors it goes through: the Kubernetes API (with the cluster's own kubeconfig), the engine's socket, and the heavy
// program (cli/heavy) for what would make every command slow to start. It never reaches into the server, which is another process. Start with
// Main; the verbs of Compose are the table in cli/compose/verbs.go, those beside them the one in root.go.
package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/cli/build"
	"github.com/cuppa-project/cuppa/cli/compose"
	"github.com/cuppa-project/cuppa/cli/heavy"
	"github.com/cuppa-project/cuppa/cli/server"
	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/cli/verdict"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Dirs are the node's folders.
type Dirs struct {
	Data string // --data-dir, $CUPPA_DATA_DIR
	Run  string // --run-dir, $CUPPA_RUN_DIR
}

// Kubeconfig is the file that lets this machine's administrator into the cluster.
func (d Dirs) Kubeconfig() string { return filepath.Join(d.Data, "admin.kubeconfig") }

// ComposeKubeconfig is the file that lets Compose into this machine's cluster under its own name.
func (d Dirs) ComposeKubeconfig() string { return filepath.Join(d.Run, api.ComposeKubeconfig) }

// Socket is the engine's.
func (d Dirs) Socket() string { return filepath.Join(d.Run, "docker.sock") }

// Config is what the program gives the command line.
type Config struct {
	Args    []string // with the program's name
	Version string
	// Heavy is the program for all that is not linked here.
	Heavy heavy.Program
	// Documents are the parts of Compose files that are to be held against the schema; they are remembered in Memo.
	Documents *verdict.Documents
	Memo      verdict.Memo
	// The process's own, unless given.
	Env []string
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

func (c *Config) complete() {
	if c.Env == nil {
		c.Env = os.Environ()
	}
	if c.In == nil {
		c.In = os.Stdin
	}
	if c.Out == nil {
		c.Out = os.Stdout
	}
	if c.Err == nil {
		c.Err = os.Stderr
	}
}

// Main runs one command and returns the program's exit code. The program's name decides what it is: cuppa, docker-compose, or kubectl.
func Main(ctx context.Context, cfg Config) int {
	cfg.complete()
	// Interrupts come to the verb, which may want to stop in good order; the caller's context would cut it off.
	ctx = context.WithoutCancel(ctx)
	env := streams.Environ(cfg.Env)
	m := &program{cfg: cfg, env: env, streams: &streams.Streams{In: cfg.In, Out: cfg.Out, Err: cfg.Err, Env: env},
		dirs: Dirs{Data: first(env["CUPPA_DATA_DIR"], api.DataDir), Run: first(env["CUPPA_RUN_DIR"], api.RunDir)}}
	name := strings.TrimSuffix(filepath.Base(cfg.Args[0]), ".exe")
	switch {
	case name == "kubectl":
		return m.code(m.kubectl(cfg.Args[1:]))
	case len(cfg.Args) > 1 && cfg.Args[1] == "kubectl":
		return m.code(m.kubectl(cfg.Args[2:]))
	}
	interrupts := make(chan os.Signal)
	ctx, stop := m.interruptible(ctx, interrupts)
	defer stop()
	root := m.root(name, interrupts)
	root.SetArgs(cfg.Args[1:])
	root.SetIn(cfg.In)
	root.SetOut(cfg.Out)
	root.SetErr(cfg.Err)
	return m.code(root.ExecuteContext(ctx))
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// program is one run of Main.
type program struct {
	cfg     Config
	env     map[string]string
	streams *streams.Streams
	dirs    Dirs
}

// interruptible hands interrupts to a verb that waits for them, and cancels any other.
func (m *program) interruptible(ctx context.Context, interrupts chan<- os.Signal) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	raw := make(chan os.Signal, 2)
	signal.Notify(raw, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-raw:
				select {
				case interrupts <- s:
				case <-time.After(100 * time.Millisecond):
					cancel(errInterrupted)
				case <-done:
					return
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(raw)
		close(done)
		cancel(nil)
	}
}

var errInterrupted = errors.New("interrupted")

// code is the one place where errors become exit codes and are shown.
func (m *program) code(err error) int {
	var exit *compose.Exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.Text != "" {
			fmt.Fprintln(m.cfg.Err, exit.Text)
		}
		return exit.Code
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return 130
	}
	fmt.Fprintln(m.cfg.Err, err)
	return 1
}

// connect reads the kubeconfig: $KUBECONFIG's, else that of this machine's cluster.
func (m *program) connect() (apply.Target, *rest.Config, error) {
	config, err := m.restConfig()
	if err != nil {
		return nil, nil, err
	}
	cluster, err := apply.NewCluster(config)
	return cluster, config, err
}

func (m *program) restConfig() (*rest.Config, error) {
	path := m.kubeconfig()
	if f, err := os.Open(path); errors.Is(err, fs.ErrPermission) {
		return nil, notYours(path)
	} else if err == nil {
		f.Close()
	}
	if _, err := os.Stat(path); os.IsNotExist(err) && !strings.Contains(path, ":") {
		return nil, compose.NoConfig(path)
	}
	config, err := readKubeconfig(path)
	if err != nil {
		return nil, err
	}
	if path == m.dirs.Kubeconfig() {
		config = m.asCompose(config)
	}
	config.UserAgent = "cuppa/" + m.cfg.Version
	return config, nil
}

func readKubeconfig(path string) (*rest.Config, error) {
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(path)}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	return config, nil
}

// asCompose goes to this machine's cluster under Compose's own name, which alone may ask the engine for extras. What lies in the run directory
// counts only if it is for the very cluster that was asked for; otherwise, or if there is nothing, the administrator goes.
func (m *program) asCompose(admin *rest.Config) *rest.Config {
	own, err := readKubeconfig(m.dirs.ComposeKubeconfig())
	if err != nil || own.Host != admin.Host || !bytes.Equal(own.CAData, admin.CAData) {
		return admin
	}
	return own
}

// notYours says what somebody can do who may not read this machine's kubeconfig.
func notYours(path string) error {
	return errkind.New(errkind.Denied, "%s may not be read by this user: it makes whoever has it the cluster's administrator; use sudo, or set KUBECONFIG to a kubeconfig of your own", path)
}

func (m *program) kubeconfig() string { return first(m.env["KUBECONFIG"], m.dirs.Kubeconfig()) }

// kubectl becomes the real kubectl, with this machine's kubeconfig unless the user has another.
func (m *program) kubectl(args []string) error {
	path := m.kubeconfig()
	f, err := os.Open(path)
	switch {
	case err == nil:
		f.Close()
	case errors.Is(err, fs.ErrPermission):
		return notYours(path)
	case errors.Is(err, fs.ErrNotExist) && len(args) > 0 && m.env["KUBECONFIG"] == "":
		// Some of what it can do needs no cluster, and it speaks of localhost:8080 when it misses one.
		fmt.Fprintf(m.cfg.Err, "There is no cluster on this machine yet (no %s): start one with `cuppa server` or `cuppa up`\n", path)
	}
	env := slices.DeleteFunc(slices.Clone(m.cfg.Env), func(v string) bool { return strings.HasPrefix(v, "KUBECONFIG=") })
	return m.cfg.Heavy.Exec(append([]string{heavy.Kubectl}, args...), append(env, "KUBECONFIG="+path))
}

// compose is what the verbs of Compose get.
func (m *program) compose(interrupts <-chan os.Signal) compose.Config {
	loader := &verdict.Loader{Documents: m.cfg.Documents, Memo: m.cfg.Memo, Ask: func(ctx context.Context, q verdict.Question) (verdict.Answer, error) {
		return heavy.Ask[verdict.Question, verdict.Answer](ctx, m.cfg.Heavy, heavy.Verdict, q, heavy.Streams{Err: m.cfg.Err, Env: m.cfg.Env})
	}}
	return compose.Config{
		Streams: m.streams, Env: m.env, Version: m.cfg.Version, DataDir: func() string { return m.dirs.Data }, Connect: m.connect, Engine: &lazyEngine{dirs: &m.dirs},
		Interrupts: interrupts, Listening: listening, Processes: processes, Now: time.Now,
		Load: loader.Load, Build: m.build, StartServer: m.startServer,
	}
}

// build has images built by the heavy program, which shows how it goes itself.
func (m *program) build(ctx context.Context, images []build.Image, opts build.Options) error {
	q := build.Question{Socket: m.dirs.Socket(), Images: images, Options: opts}
	fault, err := heavy.Ask[build.Question, heavy.Fault](ctx, m.cfg.Heavy, heavy.Build, q,
		heavy.Streams{In: m.cfg.In, Out: m.cfg.Out, Err: m.cfg.Err, Env: m.cfg.Env})
	if err != nil {
		return err
	}
	return fault.Err()
}

// startServer starts a server with its defaults, for `cuppa up` on a machine without one.
func (m *program) startServer(ctx context.Context) error {
	s := server.Starter{RunDir: m.dirs.Run, Launch: m.launch}
	warnings, err := s.Start(ctx, []string{"--data-dir=" + m.dirs.Data, "--run-dir=" + m.dirs.Run})
	fmt.Fprint(m.cfg.Err, warnings)
	return err
}

// launch starts the heavy program so that it outlives this one.
func (m *program) launch(args []string, prepare func(*exec.Cmd)) (*exec.Cmd, error) {
	return m.cfg.Heavy.Start(context.Background(), append([]string{"cuppa"}, args...), prepare)
}
