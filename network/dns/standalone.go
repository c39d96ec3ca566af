package dns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
)

// Standalone describes a server that is a process of its own. It is passed to that process as JSON.
type Standalone struct {
	Build      string           `json:"build"`  // of the program; a process of another build or configuration is replaced
	Socket     string           `json:"socket"` // of the feed
	File       string           `json:"file"`   // keeps the zone
	LogFile    string           `json:"logFile"`
	Domain     string           `json:"domain"` // such as cluster.local
	Addresses  []netip.AddrPort `json:"addresses"`
	Ranges     []netip.Prefix   `json:"ranges,omitempty"`
	ResolvConf string           `json:"resolvConf,omitempty"`
	Upstreams  []netip.AddrPort `json:"upstreams,omitempty"`
}

// id tells one build and configuration from another.
func (s Standalone) id() string {
	data, _ := json.Marshal(s)
	return string(data)
}

// Run serves until ctx ends or the feed says to quit. It answers from the file at once, and takes updates from then on.
func (s Standalone) Run(ctx context.Context, log *slog.Logger) error {
	z, err := NewZone(s.Domain)
	if err != nil {
		return err
	}
	if err := z.Load(s.File); err != nil {
		log.Error("load DNS zone of an earlier run", "err", err)
	}
	server, err := New(Config{
		Addresses: s.Addresses, Zone: z, Ranges: s.Ranges, ResolvConf: s.ResolvConf, Upstreams: s.Upstreams, Log: log,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &feed{zone: z, build: s.id(), quit: cancel, log: log}
	return run.Group(ctx, server.Run,
		func(ctx context.Context) error { return f.serve(ctx, s.Socket) },
		func(ctx context.Context) error { return z.Keep(ctx, s.File, log) })
}

// Main is the process: its argument is what Start passes.
func Main(ctx context.Context, arg string) error {
	var s Standalone
	if err := json.Unmarshal([]byte(arg), &s); err != nil {
		return errkind.New(errkind.Invalid, "read DNS server's configuration: %w", err)
	}
	return s.Run(ctx, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// Launcher starts a process that calls Main with the argument, in a session of its own and nobody's child, with its output to a file. It returns as
// soon as the process is on its way.
type Launcher func(ctx context.Context, arg string, output *os.File) error

// Start sees to it that the server's process runs, in the configuration given. One of another build or configuration is replaced,
// the new one serving before the old one ends.
func Start(ctx context.Context, s Standalone, launch Launcher) error {
	if now, err := ask(s.Socket, false); err == nil && now.Build == s.id() {
		return nil
	}
	// The old one is held by its open connection, for the new one takes over the socket's name.
	old, dialErr := net.DialTimeout("unix", s.Socket, time.Second)
	if dialErr == nil {
		defer old.Close()
	}
	if err := s.spawn(ctx, launch); err != nil {
		return fmt.Errorf("start DNS server: %w", err)
	}
	if dialErr == nil {
		if _, err := tell(old, update{Quit: true}); err != nil {
			return fmt.Errorf("end the former DNS server: %w", err)
		}
	}
	return nil
}

func (s Standalone) spawn(ctx context.Context, launch Launcher) error {
	if err := os.MkdirAll(filepath.Dir(s.LogFile), 0o755); err != nil {
		return err
	}
	logFile, err := os.OpenFile(s.LogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	arg, err := json.Marshal(s)
	if err != nil {
		return err
	}
	// Once begun, the start is seen through even if ctx ends: a process that comes up later would be nobody's to stop.
	if err := launch(context.WithoutCancel(ctx), string(arg), logFile); err != nil {
		return err
	}
	for end := time.Now().Add(5 * time.Second); ; {
		if now, err := ask(s.Socket, false); err == nil && now.Build == s.id() {
			return nil
		}
		if time.Now().After(end) {
			return errkind.New(errkind.Unavailable, "it does not answer, see %s", s.LogFile)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Stop ends the server's process and waits for its end. One that does not run is no error.
func Stop(socket string) error {
	was, err := ask(socket, true)
	if errors.Is(err, errkind.Unavailable) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop DNS server: %w", err)
	}
	for end := time.Now().Add(5 * time.Second); alive(was.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errkind.New(errkind.Unavailable, "stop DNS server: process %d does not end", was.Pid)
		}
	}
	return nil
}

// alive says whether a process runs; one that only waits for its parent to notice its end does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

// Wait returns when the server's process at the socket has ended, or does not run, or ctx ends.
func Wait(ctx context.Context, socket string) {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	c.Read(make([]byte, 1)) // the server never speaks first
}

// ask says hello to a server's process, or goodbye.
func ask(socket string, quit bool) (result, error) {
	c, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return result{}, errkind.New(errkind.Unavailable, "no DNS server at %s: %w", socket, err)
	}
	defer c.Close()
	return tell(c, update{Quit: quit})
}
