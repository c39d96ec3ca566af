//go:build cgo

// Command cuppa-helper is the small static program that runs and holds containers. Cuppa carries it inside and runs it from memory;
// nobody calls it by hand.
//
// Its modes: "launch" starts a supervisor and ends; "supervise" is the supervisor; "init" is the first step of every process in a
// container, before it becomes the user's program; "reap" is process 1 of containers that want one; "launch-dns" and "dns" are the node's
// DNS server in the same way.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // its C constructor joins namespaces before Go starts

	"github.com/cuppa-project/cuppa/engine/supervisor/server"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "cuppa-helper is a part of cuppa and is not run by hand")
		os.Exit(2)
	}
	var err error
	switch mode, args := os.Args[1], os.Args[2:]; mode {
	case "init":
		libcontainer.Init() // does not return
	case "launch":
		err = launch(args)
	case "supervise":
		err = supervise(args)
	case "launch-dns":
		err = launchDNS(args)
	case "dns":
		err = serveDNS(args)
	case "reap":
		os.Exit(reap(args))
	default:
		err = fmt.Errorf("unknown mode %q", mode)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cuppa-helper:", err)
		os.Exit(1)
	}
}

// launch starts the supervisor with the same arguments and leaves it without a parent that would have to reap it.
func launch(args []string) error {
	cmd := exec.Command("/proc/self/exe", append([]string{"supervise"}, args...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "ready")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// supervise runs the supervisor until it is asked to end. It tells on descriptor 3 when it is ready, or why not.
func supervise(args []string) error {
	flags := flag.NewFlagSet("supervise", flag.ContinueOnError)
	cfg := server.Config{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	flags.StringVar(&cfg.RunDir, "run-dir", "", "folder of the socket, namespaces and mounts")
	flags.StringVar(&cfg.StateDir, "state-dir", "", "folder of specifications and exit records")
	flags.StringVar(&cfg.Build, "build", "", "digest of this program")
	if err := flags.Parse(args); err != nil {
		return err
	}
	syscall.CloseOnExec(3)
	ready := os.NewFile(3, "ready")
	debug.SetGCPercent(50) // it is idle nearly always; memory counts for more than time
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	cfg.Reached = diesAt(cfg.RunDir)
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	s, err := server.New(cfg)
	if err == nil {
		err = s.Run(ctx, func() {
			fmt.Fprintln(ready, "ready")
			ready.Close()
		})
	}
	if err != nil {
		fmt.Fprintln(ready, err)
	}
	return err
}

// dieFile in the run folder names a step at which the next supervisor ends without a word. Tests of crashes write it.
const dieFile = "die-at"

// diesAt returns what is to be called at each step; nil if nobody wants an end. The file is read once: the supervisor after that lives.
func diesAt(runDir string) func(step string) {
	path := filepath.Join(runDir, dieFile)
	want, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	os.Remove(path)
	return func(step string) {
		if step == strings.TrimSpace(string(want)) {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
}
