package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/app"
)

// notifyVariable names the file descriptor on which a server in the background says that it is ready.
const notifyVariable = "CUPPA_NOTIFY_FD"

// startTimeout and stopTimeout bound how long the command line waits for a server.
const (
	startTimeout = time.Minute
	stopTimeout  = time.Minute
)

// serverCommand is `cuppa server` with its verbs.
func serverCommand() *cobra.Command {
	var config app.Config
	var level string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the control plane and the node of this machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(cmd.ErrOrStderr(), level)
			if err != nil {
				return err
			}
			config.Logger, config.Version = logger, version
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			config.Ready = notifyReady
			return app.Server(ctx, config)
		},
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&config.DataDir, "data-dir", cmp.Or(os.Getenv("CUPPA_DATA_DIR"), api.DataDir), "where state lies that survives a reboot")
	flags.StringVar(&config.RunDir, "run-dir", cmp.Or(os.Getenv("CUPPA_RUN_DIR"), api.RunDir), "where sockets, locks and namespaces lie")
	flags.StringVar(&config.NodeName, "node-name", "", "the node's name (default: the host's)")
	flags.StringVar(&config.NodeIP, "node-ip", "", "the node's address (default: the one of the default route)")
	flags.StringVar(&config.Listen, "listen", "", "address of the API server (default \":6443\")")
	flags.StringVar(&config.KubeletListen, "kubelet-listen", "", "address of the kubelet's server (default \":10250\")")
	flags.BoolVar(&config.NoNode, "no-node", false, "run the control plane only")
	flags.StringVar(&config.PodCIDR, "pod-cidr", "", "range of pod addresses (default: one that overlaps no route of this host)")
	flags.StringVar(&config.ServiceCIDR, "service-cidr", "", "range of Service addresses (default: likewise)")
	flags.StringSliceVar(&config.EtcdServers, "etcd-servers", nil, "use this etcd instead of the embedded one (URLs)")
	flags.StringVar(&config.EtcdCert, "etcd-cert", "", "client certificate for --etcd-servers")
	flags.StringVar(&config.EtcdKey, "etcd-key", "", "client key for --etcd-servers")
	flags.StringVar(&config.EtcdCA, "etcd-ca", "", "authority of --etcd-servers")
	flags.StringVar(&config.ResolvConf, "resolv-conf", "", "file with the resolvers for names outside the cluster (default /etc/resolv.conf)")
	flags.StringVar(&config.Pprof, "pprof", "", "serve profiles for go tool pprof on this loopback address, as 127.0.0.1:6060 (default: none)")
	flags.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	cmd.AddCommand(startCommand(&config, &level), stopCommand(&config), statusCommand(&config))
	return cmd
}

func newLogger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
}

func notifyReady() {
	fd, err := strconv.Atoi(os.Getenv(notifyVariable))
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), "notify")
	fmt.Fprintln(f, "ready")
	f.Close()
}

func startCommand(config *app.Config, level *string) *cobra.Command {
	return &cobra.Command{
		Use:   "start",
		Short: "Start the server in the background and wait until it is ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := app.Rights(*config); err != nil {
				return err
			}
			if pid, err := app.Running(config.RunDir); err != nil || pid > 0 {
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "The server is running already (pid %d).\n", pid)
				}
				return err
			}
			var args []string
			cmd.Flags().Visit(func(f *pflag.Flag) { args = append(args, "--"+f.Name+"="+strings.Trim(f.Value.String(), "[]")) })
			began := time.Now()
			warnings, err := start(cmd.Context(), *config, args)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.ErrOrStderr(), warnings)
			fmt.Fprintf(cmd.OutOrStdout(), "The server is ready (%.1f s). Its log: %s\n", time.Since(began).Seconds(), logPath(config.RunDir))
			return nil
		},
	}
}

// startServer starts the server with its defaults, for `cuppa up` on a machine without one.
func startServer(ctx context.Context, dataDir, runDir string) error {
	warnings, err := start(ctx, app.Config{DataDir: dataDir, RunDir: runDir}, []string{"--data-dir=" + dataDir, "--run-dir=" + runDir})
	fmt.Fprint(os.Stderr, warnings)
	return err
}

func logPath(runDir string) string { return filepath.Join(runDir, "server.log") }

// start runs `cuppa server` in a session of its own. It returns when that is ready, with what its log warns of, or with the end of its log when
// it has failed.
func start(ctx context.Context, config app.Config, args []string) (warnings string, err error) {
	if err := app.Rights(config); err != nil {
		return "", err
	}
	log, from, err := openLog(config.RunDir)
	if err != nil {
		return "", err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	child := exec.Command("/proc/self/exe", append([]string{"server"}, args...)...)
	child.Args[0] = "cuppa"
	child.Dir = "/"
	child.Env = append(os.Environ(), notifyVariable+"=3")
	child.Stdout, child.Stderr, child.ExtraFiles = log, log, []*os.File{w}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = child.Start()
	w.Close()
	if err != nil {
		return "", fmt.Errorf("start server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(r).ReadString('\n')
	if line == "ready\n" {
		return tail(log.Name(), from, warning), child.Process.Release()
	}
	if errors.Is(err, io.EOF) {
		_ = child.Wait()
		return "", fmt.Errorf("the server did not start:\n%s", strings.TrimSpace(tail(log.Name(), from, notable)))
	}
	return "", fmt.Errorf("the server is not ready after %s; its log: %s", startTimeout, log.Name())
}

// openLog opens the server's log and says where it ends.
func openLog(runDir string) (*os.File, int64, error) {
	if err := os.MkdirAll(runDir, 0o711); err != nil {
		return nil, 0, fmt.Errorf("make the run directory (choose another place with --run-dir): %w", err)
	}
	log, err := os.OpenFile(logPath(runDir), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("write the server's log (choose another place with --run-dir): %w", err)
	}
	from, err := log.Seek(0, io.SeekEnd)
	return log, from, err
}

// warning and notable choose lines of a log: what goes well is of no use to somebody whose server has not started.
func warning(line string) bool { return strings.Contains(line, " level=WARN ") }
func notable(line string) bool {
	return !strings.Contains(line, " level=INFO ") && !strings.Contains(line, " level=DEBUG ")
}

// tail returns the lines of a kind that were written to a file after an offset, at most the last ones.
func tail(path string, from int64, kind func(string) bool) string {
	raw, err := os.ReadFile(path)
	if err != nil || int64(len(raw)) < from {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(raw[from:])) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return line + "(the trace is in " + path + ")" // without it the reason would be lost in the trace
		}
		if kind(line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-10):], "")
}

func stopCommand(config *app.Config) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the server; containers go on running, unless --all is given",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), stopTimeout)
			defer cancel()
			if err := app.Stop(ctx, config.RunDir); err != nil {
				return err
			}
			if all {
				return app.Clean(ctx, *config)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all containers too, and remove their networks, mounts and cgroups")
	return cmd
}

func statusCommand(config *app.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say whether a server is running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pid, err := app.Running(config.RunDir)
			if err != nil {
				return err
			}
			if pid == 0 {
				return fmt.Errorf("no server is running in %s; start one with: cuppa server start", config.RunDir)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "running (pid %d)\n", pid)
			return nil
		},
	}
}
