package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// script stands for a server: what it prints is its log, and descriptor 3 is where it says that it is ready.
func script(t *testing.T, text string) Starter {
	t.Helper()
	return Starter{RunDir: filepath.Join(t.TempDir(), "run"), NoNode: true, Launch: func(args []string, prepare func(*exec.Cmd)) (*exec.Cmd, error) {
		cmd := exec.Command("/bin/sh", append([]string{"-c", text, "server"}, args...)...)
		prepare(cmd)
		return cmd, cmd.Start()
	}}
}

func TestStart(t *testing.T) {
	for _, c := range []struct{ about, script, warnings, failure string }{
		{"ready", `echo "level=INFO msg=$*"; echo "time=1 level=WARN msg=small"; echo ready >&$CUPPA_NOTIFY_FD`, "time=1 level=WARN msg=small\n", ""},
		{"refused", `echo "time=1 level=INFO msg=begins"; echo "the port is taken"; exit 1`, "", "the server did not start:\nthe port is taken"},
		{"panics", `echo "panic: oh"; echo "goroutine 1"; exit 2`, "", "the server did not start:\npanic: oh\n(the trace is in LOG)"},
	} {
		s := script(t, c.script)
		warnings, err := s.Start(t.Context(), []string{"--no-node"})
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), s.log(), "LOG")
		}
		if warnings != c.warnings || got != c.failure {
			t.Errorf("%s: warnings %q, error %q; want %q, %q", c.about, warnings, got, c.warnings, c.failure)
		}
		// An earlier start's lines are no news for a later one.
		if again, _ := s.Start(t.Context(), nil); again != c.warnings {
			t.Errorf("%s, again: warnings %q, want %q", c.about, again, c.warnings)
		}
	}
	s := script(t, `echo "level=INFO $*"; echo ready >&3`)
	if _, err := s.Start(t.Context(), []string{"--no-node", "--listen=:1"}); err != nil {
		t.Fatal(err)
	}
	if log, _ := os.ReadFile(s.log()); string(log) != "level=INFO server --no-node --listen=:1\n" {
		t.Errorf("the server's arguments: %q", log)
	}
}
