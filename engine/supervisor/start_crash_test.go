package supervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/helper/helpertest"
)

// TestSupervisorEndsWhileStarting ends the supervisor at each step of a start. The program runs afterwards, once, or not at all, and
// then it can be started again; nothing runs that no supervisor knows of. The node's own check at the end finds what was left.
func TestSupervisorEndsWhileStarting(t *testing.T) {
	for _, c := range []struct {
		step  string
		state container.State // that the next supervisor finds
	}{
		{"intended", container.Created},
		{"mounted", container.Created},
		{"made", container.Created},
		{"waiting", container.Created},
		{"running", container.Running},
		{"recorded", container.Running},
	} {
		t.Run(c.step, func(t *testing.T) {
			n := helpertest.Start(t)
			mark := fmt.Sprintf("%d", 7000+os.Getpid()%1000)
			spec := n.Spec(t, "c", "sleep", mark)
			spec.LogPath = filepath.Join(n.Dir, "c.log")
			if err := n.Create(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			dying := dieAt(t, n, c.step)
			if err := n.Client.Start(t.Context(), "c"); err == nil {
				t.Error("the supervisor has not ended")
			}
			awaitNext(t, n, dying)
			st, err := n.Status(t.Context(), "c")
			if err != nil || st.State != c.state {
				t.Fatalf("after the end at %q the container is %+v, %v; want it %s", c.step, st, err, c.state)
			}
			if c.state == container.Created {
				if got := pids(t, "sleep "+mark); got != 0 {
					t.Errorf("%d processes run that nobody knows of", got)
				}
			}
			if err := n.Client.Start(t.Context(), "c"); err != nil {
				t.Fatalf("start again: %v", err)
			}
			awaitProgram(t, "sleep "+mark)
			if err := n.Client.Delete(t.Context(), "c", true); err != nil {
				t.Fatal(err)
			}
			if got := pids(t, "sleep "+mark); got != 0 {
				t.Errorf("%d processes are left", got)
			}
		})
	}
}

// TestSupervisorEndsAfterAShortProgram: the program has come to its end before the next supervisor looks.
func TestSupervisorEndsAfterAShortProgram(t *testing.T) {
	n := helpertest.Start(t)
	done := filepath.Join(n.Dir, "done")
	spec := n.Spec(t, "c", "sh", "-c", "echo x >> /out/done")
	spec.OCI.Mounts = append(spec.OCI.Mounts, bindMount(n.Dir, "/out"))
	if err := n.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	dying := dieAt(t, n, "running")
	if err := n.Client.Start(t.Context(), "c"); err == nil {
		t.Error("the supervisor has not ended")
	}
	awaitNext(t, n, dying)
	st, err := n.Wait(t.Context(), "c")
	if err != nil || st.State != container.Exited {
		t.Errorf("got %+v, %v; want it exited", st, err)
	}
	if data, _ := os.ReadFile(done); strings.Count(string(data), "x") != 1 {
		t.Errorf("the program has run %d times", strings.Count(string(data), "x"))
	}
}

// dieAt replaces the supervisor by one that ends at a step, and returns the process number of that.
func dieAt(t *testing.T, n *helpertest.Node, step string) int {
	t.Helper()
	hello, err := n.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.Config.RunDir, "die-at"), []byte(step), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(hello.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	return awaitNext(t, n, hello.Pid)
}

// awaitProgram returns once one process runs the command: a container is started when its first process is, which then becomes the program.
func awaitProgram(t *testing.T, command string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		switch got := pids(t, command); {
		case got == 1:
			return
		case time.Now().After(deadline):
			t.Errorf("%d processes run %q, want one", got, command)
			return
		}
	}
}

// awaitNext returns once another supervisor than the one that ends serves. The old one may take a question with it.
func awaitNext(t *testing.T, n *helpertest.Node, old int) int {
	t.Helper()
	for range 100 {
		if hello, err := n.Hello(t.Context()); err == nil && hello.Pid != old {
			return hello.Pid
		}
	}
	t.Fatal("there is no next supervisor")
	return 0
}

func bindMount(from, to string) specs.Mount {
	return specs.Mount{Destination: to, Type: "bind", Source: from, Options: []string{"rbind", "rw"}}
}
