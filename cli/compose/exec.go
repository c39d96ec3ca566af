package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

type execFlags struct {
	detach, noTTY, privileged, interactive bool
	tty                                    bool
	index                                  int
	user, workdir                          string
	env                                    []string
}

func execute(s *session) *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{Use: "exec [OPTIONS] SERVICE COMMAND [ARGS...]", Args: cobra.MinimumNArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		return s.exec(cmd.Context(), args[0], args[1:], &f)
	}}
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.BoolVarP(&f.detach, "detach", "d", false, "Detached mode: Run command in the background")
	fl.BoolVarP(&f.noTTY, "no-tty", "T", false, "Disable pseudo-TTY allocation. By default a TTY is allocated when there is a terminal.")
	fl.BoolVarP(&f.interactive, "interactive", "i", true, "Keep STDIN open even if not attached")
	fl.BoolVarP(&f.tty, "tty", "t", true, "Allocate a pseudo-TTY")
	fl.BoolVar(&f.privileged, "privileged", false, "Give extended privileges to the process")
	fl.IntVar(&f.index, "index", 0, "Index of the container if service has multiple replicas")
	fl.StringVarP(&f.user, "user", "u", "", "Run the command as this user")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "Path to workdir directory for this command")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "Set environment variables")
	return cmd
}

// exec runs a command in a running container, with the terminal if there is one.
func (s *session) exec(ctx context.Context, service string, argv []string, f *execFlags) error {
	if f.privileged || f.user != "" {
		s.warn("exec: --user and --privileged are not supported and are ignored")
	}
	_, _, state, err := s.running(ctx, []string{service}, apply.Parts{Pods: true})
	if err != nil {
		return err
	}
	pod := runningPod(state, service, f.index)
	if pod == nil {
		return errkind.New(errkind.Precondition, "service %q is not running", service)
	}
	if len(f.env) > 0 || f.workdir != "" {
		argv = wrapped(argv, f.env, f.workdir)
	}
	_, config, err := s.Connect()
	if err != nil {
		return err
	}
	opts := streamOptions{pod: pod, verb: "exec", command: argv, in: f.interactive, tty: !f.noTTY && f.tty}
	if f.detach {
		opts.in, opts.tty = false, false
		argv = append([]string{"/bin/sh", "-c", `"$@" >/dev/null 2>&1 &`, "exec"}, argv...)
		opts.command = argv
	}
	return s.stream(ctx, config, opts)
}

// wrapped sets variables and folder through env, which every image with a shell has: the API has no field for them.
func wrapped(argv, env []string, dir string) []string {
	out := append([]string{"env"}, env...)
	if dir != "" {
		out = append(out, "sh", "-c", `cd "$0" && exec "$@"`, dir)
	}
	return append(out, argv...)
}

// runningPod finds a running container of a service: the one with the number, or the lowest.
func runningPod(state *plan.State, service string, index int) *corev1.Pod {
	pods := slices.Clone(state.Pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return plan.Number(a) - plan.Number(b) })
	for _, pod := range pods {
		if pod.Labels[api.LabelService] != service || pod.DeletionTimestamp != nil || index > 0 && plan.Number(pod) != index {
			continue
		}
		if _, running := apply.RunningSince(pod); running {
			return pod
		}
	}
	return nil
}

// streamOptions describe one connection to a container's streams.
type streamOptions struct {
	pod     *corev1.Pod
	verb    string // exec or attach
	command []string
	in, tty bool
	mute    bool // the container's output is read elsewhere
}

// stream connects the session's streams with a container's and returns the command's exit code as an Exit.
func (s *session) stream(ctx context.Context, config *rest.Config, o streamOptions) error {
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return err
	}
	fd := s.Streams.InTerminal()
	o.tty = o.tty && o.in && fd >= 0 && s.Streams.OutTerminal()
	query := url.Values{"container": {o.pod.Spec.Containers[0].Name}, "command": o.command}
	opts := remotecommand.StreamOptions{Tty: o.tty}
	if !o.mute {
		query.Set("stdout", "true")
		opts.Stdout = s.Streams.Out
	}
	if o.tty {
		query.Set("tty", "true")
	} else if !o.mute {
		query.Set("stderr", "true")
		opts.Stderr = s.Streams.Err
	}
	if o.in {
		query.Set("stdin", "true")
	}
	target := base.JoinPath("/api/v1/namespaces", o.pod.Namespace, "pods", o.pod.Name, o.verb)
	target.RawQuery = query.Encode()
	executor, err := newExecutor(config, target)
	if err != nil {
		return err
	}
	if o.in {
		opts.Stdin = s.Streams.In
	}
	if o.tty {
		before, err := term.MakeRaw(fd)
		if err != nil {
			return fmt.Errorf("set the terminal to raw: %w", err)
		}
		defer term.Restore(fd, before)
		sizes := newSizes(fd)
		defer sizes.close()
		opts.TerminalSizeQueue = sizes
	}
	return s.streamResult(executor.StreamWithContext(ctx, opts))
}

func newExecutor(config *rest.Config, target *url.URL) (remotecommand.Executor, error) {
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", target)
	if err != nil {
		return nil, err
	}
	socket, err := remotecommand.NewWebSocketExecutor(config, "GET", target.String())
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}

// streamResult makes the program's exit code of the command's. A command that is not there is 126, as in a shell.
func (s *session) streamResult(err error) error {
	var code utilexec.CodeExitError
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &code):
		return &Exit{Code: code.Code}
	case strings.Contains(err.Error(), "executable file not found") || strings.Contains(err.Error(), "no such file or directory"):
		// The words before come from the servers the request went through.
		text := err.Error()
		if _, cause, found := strings.Cut(text, "unable to start container process: "); found {
			text = "OCI runtime exec failed: exec failed: unable to start container process: " + cause
		}
		fmt.Fprintln(s.Streams.Out, text)
		return &Exit{Code: 126}
	}
	return err
}

// sizes tells the size of the terminal at first and after each change.
type sizes struct {
	fd      int
	changed chan os.Signal
	first   bool
}

func newSizes(fd int) *sizes {
	q := &sizes{fd: fd, changed: make(chan os.Signal, 1), first: true}
	signal.Notify(q.changed, unix.SIGWINCH)
	return q
}

func (q *sizes) close() {
	signal.Stop(q.changed)
	close(q.changed)
}

// Next blocks until the size has changed; nil is the end.
func (q *sizes) Next() *remotecommand.TerminalSize {
	if !q.first {
		if _, ok := <-q.changed; !ok {
			return nil
		}
	}
	q.first = false
	w, h, err := term.GetSize(q.fd)
	if err != nil {
		return nil
	}
	return &remotecommand.TerminalSize{Width: uint16(w), Height: uint16(h)}
}

// signal sends a signal to the first process of containers, through their own kill command.
func (s *session) signal(ctx context.Context, args []string, name string) error {
	project, _, state, err := s.running(ctx, args, apply.Parts{Pods: true})
	if err != nil {
		return err
	}
	_, config, err := s.Connect()
	if err != nil {
		return err
	}
	for _, row := range containers(project, state, s.Now()) {
		if row.State != "running" || len(args) > 0 && !slices.Contains(args, row.Service) {
			continue
		}
		fmt.Fprintf(s.Streams.Err, "Container %s Killing\n", row.Name)
		err := s.stream(ctx, config, streamOptions{pod: row.pod, verb: "exec", command: []string{"kill", "-" + strings.TrimPrefix(name, "SIG"), "1"}})
		if err != nil {
			return fmt.Errorf("send %s to %s: %w", name, row.Name, err)
		}
		fmt.Fprintf(s.Streams.Err, "Container %s Killed\n", row.Name)
	}
	return nil
}
