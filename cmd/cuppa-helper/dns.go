//go:build cgo

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/cuppa-project/cuppa/network/dns"
)

// launchDNS starts the DNS server with the same argument and leaves it without a parent that would have to reap it.
func launchDNS(args []string) error {
	cmd := exec.Command("/proc/self/exe", append([]string{"dns"}, args...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// serveDNS answers the pods' questions until it is asked to end. It is a process of its own, so that names resolve while cuppa is away, and so that
// nothing that goes wrong in it can touch the supervisor.
func serveDNS(args []string) error {
	if len(args) != 1 {
		return errors.New("dns: want one argument, its configuration")
	}
	debug.SetGCPercent(50)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	return dns.Main(ctx, args[0])
}
