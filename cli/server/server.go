// Package server is `cuppa server` as the user types it: its flags, and starting, stopping and asking about a server in the background.
//
// It holds nothing of what a server does: that is handed in, so that this package can be part of a small program. Start with Command; start.go is
// the starting in the background.
package server

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/instance"
)

// stopTimeout bounds how long the command line waits for a server to end.
const stopTimeout = time.Minute

// Options are the flags of `cuppa server`. Empty ones mean the defaults that the help names.
type Options struct {
	DataDir, RunDir           string
	NodeName, NodeIP          string
	Listen, KubeletListen     string
	NoNode                    bool
	PodCIDR, ServiceCIDR      string
	EtcdServers               []string
	EtcdCert, EtcdKey, EtcdCA string
	ResolvConf, Pprof         string
	LogLevel                  string
}

// Config is what the commands need of the world.
type Config struct {
	// DataDir and RunDir are the node's folders. Flags before the word `server` may have set them, and flags behind it set them too.
	DataDir, RunDir *string
	// Serve is a server: it blocks until ctx ends. It gets the options, and the arguments that say the same.
	Serve func(ctx context.Context, o Options, args []string) error
	// Clean ends all containers and removes what a server left on the machine. Its arguments begin with the verbs.
	Clean func(ctx context.Context, o Options, args []string) error
	// Launch starts this program anew, as a child, with its arguments.
	Launch func(args []string, prepare func(*exec.Cmd)) (*exec.Cmd, error)
}

// Command is `cuppa server` with its verbs.
func Command(cfg Config) *cobra.Command {
	var o Options
	data, run := *cfg.DataDir, *cfg.RunDir
	given := func(cmd *cobra.Command) (Options, []string) {
		o.DataDir, o.RunDir = *cfg.DataDir, *cfg.RunDir
		var args []string
		if o.DataDir != data || o.RunDir != run {
			args = append(args, "--data-dir="+o.DataDir, "--run-dir="+o.RunDir)
		}
		return o, append(args, changed(cmd.Flags())...)
	}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the control plane and the node of this machine",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, args := given(cmd)
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return cfg.Serve(ctx, o, args)
		},
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(cfg.DataDir, "data-dir", data, "where state lies that survives a reboot")
	flags.StringVar(cfg.RunDir, "run-dir", run, "where sockets, locks and namespaces lie")
	o.define(flags)
	cmd.AddCommand(startCommand(cfg, given), stopCommand(cfg, given), statusCommand(cfg.RunDir))
	return cmd
}

func (o *Options) define(flags *pflag.FlagSet) {
	flags.StringVar(&o.NodeName, "node-name", "", "the node's name (default: the host's)")
	flags.StringVar(&o.NodeIP, "node-ip", "", "the node's address (default: the one of the default route)")
	flags.StringVar(&o.Listen, "listen", "", "address of the API server (default \":6443\")")
	flags.StringVar(&o.KubeletListen, "kubelet-listen", "", "address of the kubelet's server (default \":10250\")")
	flags.BoolVar(&o.NoNode, "no-node", false, "run the control plane only")
	flags.StringVar(&o.PodCIDR, "pod-cidr", "", "range of pod addresses (default: one that overlaps no route of this host)")
	flags.StringVar(&o.ServiceCIDR, "service-cidr", "", "range of Service addresses (default: likewise)")
	flags.StringSliceVar(&o.EtcdServers, "etcd-servers", nil, "use this etcd instead of the embedded one (URLs)")
	flags.StringVar(&o.EtcdCert, "etcd-cert", "", "client certificate for --etcd-servers")
	flags.StringVar(&o.EtcdKey, "etcd-key", "", "client key for --etcd-servers")
	flags.StringVar(&o.EtcdCA, "etcd-ca", "", "authority of --etcd-servers")
	flags.StringVar(&o.ResolvConf, "resolv-conf", "", "file with the resolvers for names outside the cluster (default /etc/resolv.conf)")
	flags.StringVar(&o.Pprof, "pprof", "", "serve profiles for go tool pprof on this loopback address, as 127.0.0.1:6060 (default: none)")
	flags.StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
}

// changed writes the flags that were given as arguments, but for the folders, which flags before `server` may have given too.
func changed(flags *pflag.FlagSet) []string {
	var args []string
	flags.Visit(func(f *pflag.Flag) {
		switch list, ok := f.Value.(pflag.SliceValue); {
		case f.Name == "data-dir" || f.Name == "run-dir":
		case ok:
			for _, value := range list.GetSlice() {
				args = append(args, "--"+f.Name+"="+value)
			}
		default:
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	return args
}

// givens tells the options that a command was given, as values and as arguments.
type givens func(*cobra.Command) (Options, []string)

func startCommand(cfg Config, given givens) *cobra.Command {
	return &cobra.Command{
		Use:   "start",
		Short: "Start the server in the background and wait until it is ready",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, args := given(cmd)
			s := Starter{RunDir: o.RunDir, NoNode: o.NoNode, Launch: cfg.Launch}
			if err := s.rights(); err != nil {
				return err
			}
			if pid, err := instance.Running(s.RunDir); err != nil || pid > 0 {
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "The server is running already (pid %d).\n", pid)
				}
				return err
			}
			began := time.Now()
			warnings, err := s.Start(cmd.Context(), args)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.ErrOrStderr(), warnings)
			fmt.Fprintf(cmd.OutOrStdout(), "The server is ready (%.1f s). Its log: %s\n", time.Since(began).Seconds(), s.log())
			return nil
		},
	}
}

func stopCommand(cfg Config, given givens) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the server; containers go on running, unless --all is given",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, args := given(cmd)
			ctx, cancel := context.WithTimeout(cmd.Context(), stopTimeout)
			defer cancel()
			if err := instance.Stop(ctx, o.RunDir); err != nil {
				return err
			}
			if all {
				return cfg.Clean(ctx, o, append([]string{cmd.Name()}, args...))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all containers too, and remove their networks, mounts and cgroups")
	return cmd
}

func statusCommand(runDir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say whether a server is running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pid, err := instance.Running(*runDir)
			if err != nil {
				return err
			}
			if pid == 0 {
				return errkind.New(errkind.NotFound, "no server is running in %s; start one with: cuppa server start", *runDir)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "running (pid %d)\n", pid)
			return nil
		},
	}
}
