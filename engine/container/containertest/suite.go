package containertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/crilog"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Subject is a runtime under test, and how to describe a container to it.
type Subject struct {
	Runtime container.Runtime
	// Spec describes a container whose root file system has at least the programs of Programs.
	Spec func(id string, args ...string) container.Spec
}

// Run runs the whole suite. Open is called for each case, and must clean up by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, tc := range []struct {
		name string
		test func(t *testing.T, s Subject)
	}{
		{"life", testLife},
		{"exit code and log", testExitAndLog},
		{"missing executable", testMissingExecutable},
		{"names", testNames},
		{"stop signals", testSignals},
		{"pause", testPause},
		{"delete", testDelete},
		{"exec", testExec},
		{"exec killed by its context", testExecCancel},
		{"attach before start", testAttach},
		{"attach with input", testAttachStdin},
		{"events", testEvents},
		{"reopen log", testReopenLog},
		{"namespaces", testNamespaces},
		{"stats", testStats},
		{"init", testInit},
	} {
		t.Run(strings.ReplaceAll(tc.name, " ", "_"), func(t *testing.T) { tc.test(t, open(t)) })
	}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func wantKind(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s returned %v, want kind %q", what, err, kind)
	}
}

func (s Subject) start(t *testing.T, spec container.Spec) {
	t.Helper()
	must(t, "create", s.Runtime.Create(t.Context(), spec))
	must(t, "start", s.Runtime.Start(t.Context(), spec.ID))
}

func (s Subject) wait(t *testing.T, id string) container.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	st, err := s.Runtime.Wait(ctx, id)
	must(t, "wait", err)
	return st
}

func testLife(t *testing.T, s Subject) {
	ctx := t.Context()
	spec := s.Spec("c1", "sh", "-c", "trap 'exit 7' TERM; sleep 100")
	spec.Labels = map[string]string{"a": "b"}
	must(t, "create", s.Runtime.Create(ctx, spec))
	st, err := s.Runtime.Status(ctx, "c1")
	must(t, "status", err)
	if st.State != container.Created || st.CreatedAt.IsZero() || st.Labels["a"] != "b" {
		t.Errorf("status after create is %+v", st)
	}
	must(t, "start", s.Runtime.Start(ctx, "c1"))
	must(t, "start again", s.Runtime.Start(ctx, "c1"))
	st, err = s.Runtime.Status(ctx, "c1")
	must(t, "status", err)
	if st.State != container.Running || st.Pid == 0 || st.StartedAt.IsZero() {
		t.Errorf("status after start is %+v", st)
	}
	all, err := s.Runtime.List(ctx)
	must(t, "list", err)
	if len(all) != 1 || all[0].ID != "c1" {
		t.Errorf("list is %+v, want c1 alone", all)
	}
	must(t, "kill", s.Runtime.Signal(ctx, "c1", 9, true))
	st = s.wait(t, "c1")
	if st.State != container.Exited || st.ExitCode != 137 || st.FinishedAt.IsZero() || st.OOMKilled {
		t.Errorf("status after kill is %+v", st)
	}
	wantKind(t, "start of an exited container", s.Runtime.Start(ctx, "c1"), errkind.Precondition)
	wantKind(t, "signal to an exited container", s.Runtime.Signal(ctx, "c1", 15, false), errkind.NotFound)
	must(t, "delete", s.Runtime.Delete(ctx, "c1", false))
	_, err = s.Runtime.Status(ctx, "c1")
	wantKind(t, "status after delete", err, errkind.NotFound)
}

func testExitAndLog(t *testing.T, s Subject) {
	spec := s.Spec("c1", "sh", "-c", "echo out; echo bad >&2; exit 3")
	spec.LogPath = filepath.Join(t.TempDir(), "pod", "0.log")
	s.start(t, spec)
	if st := s.wait(t, "c1"); st.ExitCode != 3 || st.LogPath != spec.LogPath {
		t.Errorf("status is %+v, want exit code 3 and log path %s", st, spec.LogPath)
	}
	var out, bad bytes.Buffer
	must(t, "read log", crilog.Read(t.Context(), spec.LogPath, crilog.Options{Tail: -1}, &out, &bad))
	if out.String() != "out\n" || bad.String() != "bad\n" {
		t.Errorf("log has stdout %q and stderr %q", out.String(), bad.String())
	}
}

func testMissingExecutable(t *testing.T, s Subject) {
	must(t, "create", s.Runtime.Create(t.Context(), s.Spec("c1", "nosuchthing")))
	err := s.Runtime.Start(t.Context(), "c1")
	wantKind(t, "start", err, errkind.Invalid)
	if err == nil || !strings.Contains(err.Error(), `exec: "nosuchthing": executable file not found in $PATH`) {
		t.Errorf("start returned %v, want the usual words", err)
	}
	st := s.wait(t, "c1")
	if st.State != container.Exited || st.ExitCode != 128 || st.Error == "" {
		t.Errorf("status is %+v, want exited with 128 and the reason", st)
	}
}

func testNames(t *testing.T, s Subject) {
	ctx := t.Context()
	must(t, "create", s.Runtime.Create(ctx, s.Spec("c1", "true")))
	wantKind(t, "create with a taken ID", s.Runtime.Create(ctx, s.Spec("c1", "true")), errkind.Exists)
	wantKind(t, "start of nothing", s.Runtime.Start(ctx, "none"), errkind.NotFound)
	wantKind(t, "signal to nothing", s.Runtime.Signal(ctx, "none", 9, false), errkind.NotFound)
	_, err := s.Runtime.Wait(ctx, "none")
	wantKind(t, "wait for nothing", err, errkind.NotFound)
	_, err = s.Runtime.Exec(ctx, "c1", container.Process{Args: []string{"true"}}, container.Streams{})
	wantKind(t, "exec in a created container", err, errkind.Precondition)
	must(t, "delete of nothing", s.Runtime.Delete(ctx, "none", false))
	must(t, "delete of a created container", s.Runtime.Delete(ctx, "c1", false))
}

func testSignals(t *testing.T, s Subject) {
	s.start(t, s.Spec("c1", "sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 0.1; sleep 0.1; sleep 5"))
	s.terminate(t, "c1")
	if st := s.wait(t, "c1"); st.ExitCode != 7 {
		t.Errorf("exit code is %d, want the trap's 7", st.ExitCode)
	}
}

// terminate sends TERM until the container has exited: process 1 ignores it as long as it has no handler yet.
func (s Subject) terminate(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		err := s.Runtime.Signal(ctx, id, 15, false)
		if errors.Is(err, errkind.NotFound) {
			return
		}
		must(t, "signal", err)
		short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err = s.Runtime.Wait(short, id)
		stop()
		if err == nil {
			return
		}
	}
}

func testPause(t *testing.T, s Subject) {
	ctx := t.Context()
	must(t, "create", s.Runtime.Create(ctx, s.Spec("c1", "sleep", "100")))
	wantKind(t, "pause of a created container", s.Runtime.Pause(ctx, "c1"), errkind.Precondition)
	must(t, "start", s.Runtime.Start(ctx, "c1"))
	must(t, "pause", s.Runtime.Pause(ctx, "c1"))
	must(t, "pause again", s.Runtime.Pause(ctx, "c1"))
	if st, err := s.Runtime.Status(ctx, "c1"); err != nil || st.State != container.Paused {
		t.Errorf("status is %+v, %v, want paused", st, err)
	}
	must(t, "resume", s.Runtime.Resume(ctx, "c1"))
	if st, err := s.Runtime.Status(ctx, "c1"); err != nil || st.State != container.Running {
		t.Errorf("status is %+v, %v, want running", st, err)
	}
	must(t, "pause", s.Runtime.Pause(ctx, "c1"))
	must(t, "delete by force while paused", s.Runtime.Delete(ctx, "c1", true))
}

func testDelete(t *testing.T, s Subject) {
	ctx := t.Context()
	s.start(t, s.Spec("c1", "sleep", "100"))
	wantKind(t, "delete of a running container", s.Runtime.Delete(ctx, "c1", false), errkind.Precondition)
	must(t, "delete by force", s.Runtime.Delete(ctx, "c1", true))
	must(t, "delete again", s.Runtime.Delete(ctx, "c1", true))
	s.start(t, s.Spec("c1", "true")) // the ID is free again
	s.wait(t, "c1")
	must(t, "delete", s.Runtime.Delete(ctx, "c1", false))
}

func testExec(t *testing.T, s Subject) {
	ctx := t.Context()
	s.start(t, s.Spec("c1", "sleep", "100"))
	var out, bad bytes.Buffer
	code, err := s.Runtime.Exec(ctx, "c1", container.Process{Args: []string{"sh", "-c", "echo hi; echo no >&2; exit 5"}},
		container.Streams{Stdout: &out, Stderr: &bad})
	if err != nil || code != 5 || out.String() != "hi\n" || bad.String() != "no\n" {
		t.Errorf("exec gave %d, %v, stdout %q, stderr %q", code, err, out.String(), bad.String())
	}
	out.Reset()
	code, err = s.Runtime.Exec(ctx, "c1", container.Process{Args: []string{"cat"}},
		container.Streams{Stdin: strings.NewReader("through"), Stdout: &out})
	if err != nil || code != 0 || out.String() != "through" {
		t.Errorf("exec of cat gave %d, %v, stdout %q", code, err, out.String())
	}
	_, err = s.Runtime.Exec(ctx, "c1", container.Process{Args: []string{"nosuchthing"}}, container.Streams{})
	wantKind(t, "exec of a missing program", err, errkind.Invalid)
	if err == nil || !strings.Contains(err.Error(), "executable file not found in $PATH") {
		t.Errorf("exec of a missing program returned %v, want the usual words", err)
	}
}

func testExecCancel(t *testing.T, s Subject) {
	s.start(t, s.Spec("c1", "sleep", "100"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := s.Runtime.Exec(ctx, "c1", container.Process{Args: []string{"sleep", "50"}}, container.Streams{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("exec returned %v, want the context's error", err)
	}
	if st, err := s.Runtime.Status(t.Context(), "c1"); err != nil || st.State != container.Running {
		t.Errorf("container is %+v, %v, want running still", st, err)
	}
}

func testAttach(t *testing.T, s Subject) {
	must(t, "create", s.Runtime.Create(t.Context(), s.Spec("c1", "sh", "-c", "echo out; echo bad >&2")))
	var out, bad bytes.Buffer
	done := make(chan error, 1)
	attached := make(chan struct{})
	go func() {
		done <- s.Runtime.Attach(t.Context(), "c1", container.Streams{Stdout: &out, Stderr: &bad, Attached: func() { close(attached) }})
	}()
	<-attached
	must(t, "start", s.Runtime.Start(t.Context(), "c1"))
	must(t, "attach", <-done)
	if out.String() != "out\n" || bad.String() != "bad\n" {
		t.Errorf("attach gave stdout %q and stderr %q", out.String(), bad.String())
	}
}

func testAttachStdin(t *testing.T, s Subject) {
	spec := s.Spec("c1", "cat")
	spec.OpenStdin, spec.StdinOnce = true, true
	must(t, "create", s.Runtime.Create(t.Context(), spec))
	must(t, "start", s.Runtime.Start(t.Context(), "c1"))
	r, w := io.Pipe()
	var out bytes.Buffer
	done := make(chan error, 1)
	attached := make(chan struct{})
	go func() {
		done <- s.Runtime.Attach(t.Context(), "c1", container.Streams{Stdin: r, Stdout: &out, Attached: func() { close(attached) }})
	}()
	<-attached
	io.WriteString(w, "hello")
	w.Close()
	must(t, "attach", <-done)
	if st := s.wait(t, "c1"); out.String() != "hello" || st.ExitCode != 0 {
		t.Errorf("attached cat gave %q and exit code %d", out.String(), st.ExitCode)
	}
}

func testEvents(t *testing.T, s Subject) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s.start(t, s.Spec("old", "sleep", "100"))
	ch, err := s.Runtime.Events(ctx, 0)
	must(t, "events", err)
	first := <-ch
	if first.Type != container.EventStarted || first.Status.ID != "old" {
		t.Errorf("first event is %+v, want how old stands", first)
	}
	s.start(t, s.Spec("new", "sh", "-c", "exit 4"))
	s.wait(t, "new")
	must(t, "delete", s.Runtime.Delete(ctx, "new", false))
	var got []container.EventType
	last, code := first.Seq, 0
	for len(got) < 4 {
		e, ok := <-ch
		if !ok {
			t.Fatalf("events ended after %v", got)
		}
		if e.Seq <= last {
			t.Errorf("event %+v after sequence number %d", e, last)
		}
		last = e.Seq
		if e.Type == container.EventExited {
			code = e.Status.ExitCode
		}
		got = append(got, e.Type)
	}
	want := []container.EventType{container.EventCreated, container.EventStarted, container.EventExited, container.EventDeleted}
	if diff := cmp.Diff(want, got); diff != "" || code != 4 {
		t.Errorf("exit code %d, want 4; events (-want +got):\n%s", code, diff)
	}
	again, err := s.Runtime.Events(ctx, last-1)
	must(t, "events from a sequence number", err)
	if e := <-again; e.Seq != last || e.Type != container.EventDeleted {
		t.Errorf("first event after %d is %+v", last-1, e)
	}
	cancel()
	for range ch {
	}
	for range again {
	}
}

func testReopenLog(t *testing.T, s Subject) {
	spec := s.Spec("c1", "cat")
	spec.OpenStdin, spec.StdinOnce = true, true
	spec.LogPath = filepath.Join(t.TempDir(), "0.log")
	s.start(t, spec)
	must(t, "rename", os.Rename(spec.LogPath, spec.LogPath+".old"))
	must(t, "reopen", s.Runtime.ReopenLog(t.Context(), "c1"))
	must(t, "attach", s.Runtime.Attach(t.Context(), "c1", container.Streams{Stdin: strings.NewReader("new\n")}))
	s.wait(t, "c1")
	var out bytes.Buffer
	must(t, "read log", crilog.Read(t.Context(), spec.LogPath, crilog.Options{Tail: -1}, &out, nil))
	if out.String() != "new\n" {
		t.Errorf("new log has %q", out.String())
	}
}

func testNamespaces(t *testing.T, s Subject) {
	ctx := t.Context()
	spec := container.NamespaceSpec{ID: "pod", Hostname: "web-0", IPC: true, UTS: true}
	one, err := s.Runtime.MakeNamespaces(ctx, spec)
	must(t, "make", err)
	two, err := s.Runtime.MakeNamespaces(ctx, spec)
	must(t, "make again", err)
	if one != two || one.IPC == "" || one.UTS == "" {
		t.Errorf("namespaces are %+v, then %+v", one, two)
	}
	must(t, "remove", s.Runtime.RemoveNamespaces(ctx, "pod"))
	must(t, "remove again", s.Runtime.RemoveNamespaces(ctx, "pod"))
}

func testStats(t *testing.T, s Subject) {
	s.start(t, s.Spec("c1", "sleep", "100"))
	st, err := s.Runtime.Stats(t.Context(), "c1")
	must(t, "stats", err)
	if st.Time.IsZero() || st.MemoryUsage == 0 || st.Pids == 0 {
		t.Errorf("stats of a running container are %+v", st)
	}
	limit := int64(64 << 20)
	must(t, "update", s.Runtime.Update(t.Context(), "c1", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}))
	// A container with new limits is as good as any other.
	code, err := s.Runtime.Exec(t.Context(), "c1", container.Process{Args: []string{"sh", "-c", "exit 5"}}, container.Streams{})
	if err != nil || code != 5 {
		t.Errorf("exec after an update gave %d, %v", code, err)
	}
}

func testInit(t *testing.T, s Subject) {
	spec := s.Spec("c1")
	spec.OCI.Process.Args = nil
	spec.Init = true
	s.start(t, spec)
	s.terminate(t, "c1")
	if st := s.wait(t, "c1"); st.ExitCode != 0 && st.ExitCode != 2 { // 2: told to end while it was still setting itself up
		t.Errorf("reaper ended with %d, want 0", st.ExitCode)
	}
}
