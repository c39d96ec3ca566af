package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/app"
	"github.com/cuppa-project/cuppa/cli/server"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// serve is `cuppa server` where it is not only asked for, but done. It takes the same flags as the front program's.
func serve(ctx context.Context, args []string) error {
	dataDir, runDir := cmp.Or(os.Getenv("CUPPA_DATA_DIR"), api.DataDir), cmp.Or(os.Getenv("CUPPA_RUN_DIR"), api.RunDir)
	cmd := server.Command(server.Config{
		DataDir: &dataDir, RunDir: &runDir,
		Serve: func(ctx context.Context, o server.Options, _ []string) error {
			config, err := configOf(o, os.Stderr)
			if err != nil {
				return err
			}
			return app.Server(ctx, config)
		},
		Clean: func(ctx context.Context, o server.Options, _ []string) error {
			return app.Clean(ctx, app.Config{DataDir: o.DataDir, RunDir: o.RunDir})
		},
		Launch: func([]string, func(*exec.Cmd)) (*exec.Cmd, error) {
			return nil, errkind.New(errkind.Precondition, "servers in the background are started by cuppa")
		},
	})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	return cmd.ExecuteContext(ctx)
}

// configOf makes the server's configuration of its flags.
func configOf(o server.Options, log io.Writer) (app.Config, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.LogLevel)); err != nil {
		return app.Config{}, errkind.New(errkind.Invalid, "--log-level %q: want debug, info, warn or error", o.LogLevel)
	}
	return app.Config{
		DataDir: o.DataDir, RunDir: o.RunDir, NodeName: o.NodeName, NodeIP: o.NodeIP, Listen: o.Listen, KubeletListen: o.KubeletListen,
		NoNode: o.NoNode, PodCIDR: o.PodCIDR, ServiceCIDR: o.ServiceCIDR,
		EtcdServers: o.EtcdServers, EtcdCert: o.EtcdCert, EtcdKey: o.EtcdKey, EtcdCA: o.EtcdCA,
		ResolvConf: o.ResolvConf, Pprof: o.Pprof,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})), Version: version, Ready: server.NotifyReady,
	}, nil
}
