// Package helper carries the cuppa-helper program inside cuppa, and connects to the supervisor that it is in one of its modes.
//
// It is no supervisor itself and knows no containers. Start is its one entry.
package helper

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/supervisor"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

//go:generate ../../cmd/cuppa-helper/build.sh dist/cuppa-helper

// dist holds the built program, or only a note in a tree where it has not been built yet.
//
//go:embed dist
var dist embed.FS

// Config says where the supervisor works.
type Config struct {
	RunDir   string // lost at reboot; one supervisor for each
	StateDir string // survives a reboot
	Log      *slog.Logger
}

// open opens the embedded program, without copying it: it is several megabytes, and hardly ever needed.
func open() (fs.File, error) {
	f, err := dist.Open("dist/cuppa-helper")
	if err != nil {
		return nil, errkind.New(errkind.Precondition, "this program was built without its helper, which runs containers: build with make")
	}
	return f, nil
}

// Build identifies the embedded program, by what was written beside it when it was built.
func Build() (string, error) {
	f, err := open()
	if err != nil {
		return "", err
	}
	f.Close()
	sum, err := dist.ReadFile("dist/cuppa-helper.sum")
	if err != nil {
		return "", errkind.New(errkind.Precondition, "the embedded helper has no digest beside it: build with make")
	}
	return strings.TrimSpace(string(sum)), nil
}

// Start returns a client of the supervisor of cfg.RunDir, and starts that supervisor if none is running; the client does the same
// when it finds it dead later. The supervisor is in a session of its own and outlives the caller. One of another build keeps its
// containers and serves on, as long as the protocol is one that both speak.
func Start(ctx context.Context, cfg Config) (*supervisor.Client, error) {
	build, err := Build()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(cfg.RunDir, "supervisor.sock")
	k := &keeper{cfg: cfg, build: build, probe: supervisor.New(socket, build)}
	hello, err := k.probe.Hello(ctx)
	switch {
	case errors.Is(err, errkind.Unavailable):
		err = k.start(ctx)
	case err == nil && hello.Build != build:
		cfg.Log.Info("supervisor of another build serves on", "pid", hello.Pid, "containers", hello.Containers)
	}
	if err != nil {
		return nil, err
	}
	client := supervisor.New(socket, build)
	client.ReviveBy(func(ctx context.Context) error {
		cfg.Log.Debug("supervisor does not answer")
		return k.start(ctx)
	})
	return client, nil
}

// keeper starts supervisors, one at a time.
type keeper struct {
	cfg   Config
	build string
	probe *supervisor.Client

	mu sync.Mutex
}

// start returns when a supervisor answers.
func (k *keeper) start(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, err := k.probe.Hello(ctx); err == nil || !errors.Is(err, errkind.Unavailable) {
		return err // somebody else was first
	}
	k.cfg.Log.Info("supervisor starts", "run", k.cfg.RunDir)
	spawned := spawn(ctx, k.cfg, k.build)
	// Even if ours has failed: another process may have started one at the same moment.
	if _, err := k.probe.Hello(ctx); err != nil {
		return errors.Join(spawned, err)
	}
	return nil
}

// spawn runs the program from sealed memory and waits until it is ready.
func spawn(ctx context.Context, cfg Config, build string) error {
	if err := os.MkdirAll(cfg.RunDir, 0o711); err != nil {
		return fmt.Errorf("make run folder: %w", err)
	}
	logFile, err := os.OpenFile(filepath.Join(cfg.RunDir, "supervisor.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open supervisor log: %w", err)
	}
	defer logFile.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer r.Close()
	// The launcher starts the supervisor and ends, so that the supervisor is nobody's child.
	err = Run(ctx, logFile, []*os.File{w}, "launch", "-run-dir", cfg.RunDir, "-state-dir", cfg.StateDir, "-build", build)
	w.Close()
	if err != nil {
		return errkind.New(errkind.Unavailable, "start supervisor: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	answer, err := io.ReadAll(r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return errkind.New(errkind.Unavailable, "start supervisor: %w", err)
	}
	if text := string(bytes.TrimSpace(answer)); text != "ready" {
		if text == "" {
			text = "it ended at once, see " + logFile.Name()
		}
		return errkind.New(errkind.Unavailable, "start supervisor: %s", text)
	}
	return nil
}

// sealed puts the program into memory that nobody can change any more, not even a container that gets hold of it.
func sealed() (*os.File, error) {
	program, err := open()
	if err != nil {
		return nil, err
	}
	defer program.Close()
	fd, err := unix.MemfdCreate("cuppa-helper", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL { // kernels before 6.3 know no MFD_EXEC, and always allow it
		fd, err = unix.MemfdCreate("cuppa-helper", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("make memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "cuppa-helper")
	if _, err := io.Copy(f, program); err != nil {
		f.Close()
		return nil, fmt.Errorf("write memory file: %w", err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal memory file: %w", err)
	}
	// Executing a file that is open for writing fails, so it is opened anew.
	again, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("open memory file: %w", err)
	}
	return again, nil
}
