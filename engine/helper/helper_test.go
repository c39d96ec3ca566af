package helper_test

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/helper"
	"github.com/cuppa-project/cuppa/engine/helper/helpertest"
	"github.com/cuppa-project/cuppa/engine/supervisor"
	"github.com/cuppa-project/cuppa/engine/supervisor/wire"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// TestNewerProgram: a supervisor that an older build has started keeps its containers and serves the newer one.
func TestNewerProgram(t *testing.T) {
	n := helpertest.Start(t)
	if err := n.Shutdown(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	err = helper.Run(t.Context(), nil, []*os.File{w}, "launch", "-run-dir", n.Config.RunDir, "-state-dir", n.Config.StateDir, "-build", "older")
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	r.Read(make([]byte, 10)) // ready
	r.Close()
	old := supervisor.New(filepath.Join(n.Config.RunDir, "supervisor.sock"), "older")
	if err := old.Create(t.Context(), n.Spec(t, "c1", "sleep", "100")); err != nil {
		t.Fatal(err)
	}
	if err := old.Start(t.Context(), "c1"); err != nil {
		t.Fatal(err)
	}
	before, err := old.Status(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	n.Connect(t)
	hello, err := n.Hello(t.Context())
	if err != nil || hello.Build != "older" || hello.Containers != 1 {
		t.Errorf("the newer program talks to %+v, %v, want the older supervisor", hello, err)
	}
	if after, err := n.Status(t.Context(), "c1"); err != nil || after.Pid != before.Pid || after.State != container.Running {
		t.Errorf("container is %+v, %v, and was %+v", after, err, before)
	}
}

// TestForeignProtocol: with a supervisor that speaks another language nothing is begun, and the message says what to do.
func TestForeignProtocol(t *testing.T) {
	if _, err := helper.Build(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "supervisor.sock"))
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		conn := wire.Conn{UnixConn: c.(*net.UnixConn)}
		var req wire.Request
		if _, err := conn.Receive(&req); err == nil {
			conn.Send(wire.Reply{Body: wire.Body(wire.Hello{Protocol: 99, Oldest: 90, Pid: 7})})
		}
	})
	_, err = helper.Start(t.Context(), helper.Config{RunDir: dir, StateDir: filepath.Join(dir, "state"), Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, errkind.Precondition) || !strings.Contains(err.Error(), "the running supervisor (pid 7) speaks protocol 99") {
		t.Errorf("start returned %v", err)
	}
	listener.Close()
	served.Wait()
}

// TestStartTogether: two programs that start at the same moment share one supervisor.
func TestStartTogether(t *testing.T) {
	n := helpertest.Start(t)
	if err := n.Shutdown(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	var (
		wg   sync.WaitGroup
		pids [4]int
	)
	for i := range pids {
		wg.Go(func() {
			c, err := helper.Start(t.Context(), n.Config)
			if err != nil {
				t.Errorf("start: %v", err)
				return
			}
			hello, err := c.Hello(t.Context())
			if err != nil {
				t.Errorf("hello: %v", err)
			}
			pids[i] = hello.Pid
		})
	}
	wg.Wait()
	for _, pid := range pids {
		if pid != pids[0] || pid == 0 {
			t.Errorf("supervisors are %v, want one", pids)
		}
	}
	n.Connect(t)
}
