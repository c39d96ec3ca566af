package supervisor_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/helper/helpertest"
	"github.com/cuppa-project/cuppa/engine/supervisor"
	"github.com/cuppa-project/cuppa/internal/crilog"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// TestMain lets the test's program be the client that is killed.
func TestMain(m *testing.M) {
	if socket := os.Getenv("CUPPA_TEST_CLIENT"); socket != "" {
		client(socket)
		return
	}
	leak.Main(m)
}

// client follows events and a container's output until it is killed.
func client(socket string) {
	c := supervisor.New(socket, "")
	events, err := c.Events(context.Background(), 0)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	fmt.Println("ready")
	go c.Attach(context.Background(), "writer", container.Streams{Stdout: os.Stderr})
	for e := range events {
		fmt.Println(e.Type, e.Status.ID)
	}
}

// lines is a shell command that writes numbered lines, a hundred in a tenth of a second.
func lines(n int, last string) []string {
	return []string{"sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); echo line $i; [ $((i %% 100)) -eq 0 ] && sleep 0.02; done; %s", n, last)}
}

func wantLines(t *testing.T, path string, n int) {
	t.Helper()
	var out bytes.Buffer
	if err := crilog.Read(t.Context(), path, crilog.Options{Tail: -1}, &out, nil); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(got) != n {
		t.Errorf("log has %d lines, want %d", len(got), n)
	}
	for i, line := range got {
		if line != fmt.Sprintf("line %d", i+1) {
			t.Fatalf("line %d of the log is %q", i+1, line)
		}
	}
}

func run(t *testing.T, n *helpertest.Node, spec container.Spec) {
	t.Helper()
	err := n.Create(t.Context(), spec)
	if err == nil {
		err = n.Client.Start(t.Context(), spec.ID)
	}
	if err != nil {
		t.Fatalf("run %s: %v", spec.ID, err)
	}
}

func TestClientKilled(t *testing.T) {
	n := helpertest.Start(t)
	spec := n.Spec(t, "writer", lines(3000, "exit 5")...)
	spec.LogPath = filepath.Join(n.Dir, "writer.log")
	run(t, n, spec)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CUPPA_TEST_CLIENT="+filepath.Join(n.Config.RunDir, "supervisor.sock"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	for _, want := range []string{"ready\n", "started writer\n"} {
		if line, err := r.ReadString('\n'); line != want {
			t.Fatalf("client says %q, %v, want %q", line, err, want)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	st, err := n.Wait(t.Context(), "writer")
	if err != nil || st.ExitCode != 5 {
		t.Errorf("container whose client was killed: %+v, %v", st, err)
	}
	wantLines(t, spec.LogPath, 3000)
	n.Connect(t)
	events, err := n.Events(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Type != container.EventExited || e.Status.ExitCode != 5 {
		t.Errorf("a new client is told %+v, want the exit", e)
	}
}

// TestSupervisorKilled: the next supervisor takes the containers over, and neither output nor exit codes are lost.
func TestSupervisorKilled(t *testing.T) {
	n := helpertest.Start(t)
	hello, err := n.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	spec := n.Spec(t, "writer", lines(3000, "sleep 0.3; exit 5")...)
	spec.LogPath = filepath.Join(n.Dir, "writer.log")
	run(t, n, spec)
	gone := n.Spec(t, "gone", "sleep", "0.05")
	run(t, n, gone)
	if err := n.Create(t.Context(), n.Spec(t, "later", "true")); err != nil {
		t.Fatal(err)
	}
	if _, err := n.MakeNamespaces(t.Context(), container.NamespaceSpec{ID: "pod", IPC: true, UTS: true}); err != nil {
		t.Fatal(err)
	}
	before, err := n.Status(t.Context(), "writer")
	if err != nil {
		t.Fatal(err)
	}
	unix.Kill(hello.Pid, unix.SIGKILL)
	for i := 0; i < 1000 && exists("/proc/"+fmt.Sprint(before.Pid)) && pids(t, "sleep 0.05") > 0; i++ {
		time.Sleep(time.Millisecond) // until the second container has ended unseen
	}
	after, err := n.Status(t.Context(), "writer")
	if err != nil || after.Pid != before.Pid || after.State != container.Running || !after.StartedAt.Equal(before.StartedAt) {
		t.Errorf("container was %+v and is %+v, %v", before, after, err)
	}
	code, err := n.Exec(t.Context(), "writer", container.Process{Args: []string{"sh", "-c", "exit 4"}}, container.Streams{})
	if err != nil || code != 4 {
		t.Errorf("exec after the take-over gave %d, %v", code, err)
	}
	st, err := n.Wait(t.Context(), "writer")
	if err != nil || st.State != container.Exited {
		t.Fatalf("wait after the take-over: %+v, %v", st, err)
	}
	if st.ExitCode != 5 && !(st.ExitCode == 255 && st.Error != "") { // kernels before 6.15 do not tell strangers
		t.Errorf("exit after the take-over is %+v", st)
	}
	wantLines(t, spec.LogPath, 3000)
	if st, err := n.Status(t.Context(), "gone"); err != nil || st.State != container.Exited {
		t.Errorf("container that ended unseen is %+v, %v", st, err)
	}
	if err := n.Client.Start(t.Context(), "later"); err != nil {
		t.Errorf("start of a container created before: %v", err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// pids counts the processes with a command line.
func pids(t *testing.T, command string) int {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	count := 0
	for _, f := range files {
		if data, _ := os.ReadFile(f); strings.ReplaceAll(strings.TrimRight(string(data), "\x00"), "\x00", " ") == command {
			count++
		}
	}
	return count
}

func TestShutdownIsRefused(t *testing.T) {
	n := helpertest.Start(t)
	run(t, n, n.Spec(t, "c1", "sleep", "100"))
	if err := n.Shutdown(t.Context(), false); !errors.Is(err, errkind.Precondition) {
		t.Errorf("shutdown with a container returned %v", err)
	}
	if err := n.Delete(t.Context(), "c1", true); err != nil {
		t.Fatal(err)
	}
	if err := n.Shutdown(t.Context(), false); err != nil {
		t.Errorf("shutdown without a container returned %v", err)
	}
	entries, err := os.ReadDir(n.Config.RunDir)
	if err != nil || len(entries) != 1 { // the log
		t.Errorf("shutdown left %v, %v", entries, err)
	}
}

// TestManyAtOnce starts and removes containers from many sides at once.
func TestManyAtOnce(t *testing.T) {
	n := helpertest.Start(t)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			spec := n.Spec(t, fmt.Sprintf("c%d", i), "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i))
			spec.LogPath = filepath.Join(n.Dir, spec.ID+".log")
			err := n.Create(t.Context(), spec)
			if err == nil {
				err = n.Client.Start(t.Context(), spec.ID)
			}
			st, werr := n.Wait(t.Context(), spec.ID)
			if err != nil || werr != nil || st.ExitCode != i {
				t.Errorf("container %d: %v, %v, %+v", i, err, werr, st)
			}
			if text, _ := os.ReadFile(spec.LogPath); !strings.HasSuffix(string(text), fmt.Sprintf(" stdout F %d\n", i)) {
				t.Errorf("log of container %d is %q", i, text)
			}
			if err := n.Delete(t.Context(), spec.ID, false); err != nil {
				t.Errorf("delete %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}
