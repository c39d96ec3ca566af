package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/cli/compose"
)

func run(t *testing.T, env []string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(context.Background(), Config{Args: args, Env: env, In: strings.NewReader(""), Out: &o, Err: &e, Version: "1.2.3",
		Server: func() *cobra.Command { return &cobra.Command{Use: "server", Run: func(*cobra.Command, []string) {}} }})
	return code, o.String(), e.String()
}

// TestMainRoles: the program's name and first word decide what it is; none of this needs a cluster.
func TestMainRoles(t *testing.T) {
	dir := t.TempDir()
	env := []string{"CUPPA_DATA_DIR=" + dir, "CUPPA_RUN_DIR=" + dir, "HOME=" + dir}
	for _, tc := range []struct {
		args []string
		code int
		out  string
		errs string
	}{
		{[]string{"cuppa", "version"}, 0, "Cuppa Compose version 1.2.3\n", ""},
		{[]string{"docker-compose", "--version"}, 0, "Cuppa Compose version 1.2.3\n", ""},
		{[]string{"docker-compose", "-v"}, 0, "Cuppa Compose version 1.2.3\n", ""},
		{[]string{"cuppa", "compose", "version", "--short"}, 0, "1.2.3\n", ""},
		{[]string{"/usr/bin/docker-compose", "version", "--short"}, 0, "1.2.3\n", ""},
		{[]string{"cuppa", "server"}, 0, "", ""},
		{[]string{"cuppa", "upp"}, 1, "", "unknown command: \"cuppa upp\" (did you mean \"up\"?)\n"},
		{[]string{"docker-compose", "image"}, 1, "", "unknown command: \"docker-compose image\" (did you mean \"images\"?)\n"},
		{[]string{"cuppa", "up", "--foo"}, 1, "", "unknown flag: --foo\n"},
		{[]string{"cuppa", "kubeconfig"}, 1, "", "there is no cluster on this machine yet (no " + dir + "/admin.kubeconfig): start one with `cuppa server` or `cuppa up`\n"},
		{[]string{"cuppa", "-p", "x", "ps"}, 1, "", "no cluster answers: start one with `cuppa up` or `cuppa server` (there is no kubeconfig at " + dir + "/admin.kubeconfig)\n"},
		{[]string{"cuppa", "-p", "x", "down"}, 0, "", ""},
		{[]string{"cuppa", "image", "ls"}, 1, "", "the engine does not answer at " + dir + "/docker.sock: is `cuppa server` running? (dial unix " + dir + "/docker.sock: connect: no such file or directory)\n"},
	} {
		code, out, errs := run(t, env, tc.args...)
		if code != tc.code || out != tc.out || errs != tc.errs {
			t.Errorf("%v: exit %d\nO| %sE| %swant exit %d\nO| %sE| %s", tc.args, code, out, errs, tc.code, tc.out, tc.errs)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "admin.kubeconfig"), []byte("apiVersion: v1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := run(t, env, "cuppa", "kubeconfig"); code != 0 || out != "apiVersion: v1\n" {
		t.Errorf("kubeconfig: %d %q", code, out)
	}
}

// TestVerbsShown: every verb has a line in the help, and a shell can complete them.
func TestVerbsShown(t *testing.T) {
	_, out, _ := run(t, nil, "cuppa", "--help")
	for _, word := range []string{"up ", "down ", "logs ", "image ", "kubectl ", "kubeconfig ", "server", "completion "} {
		if !strings.Contains(out, "\n  "+word) {
			t.Errorf("the help lacks %q:\n%s", word, out)
		}
	}
	if code, out, _ := run(t, nil, "cuppa", "completion", "bash"); code != 0 || !strings.Contains(out, "__start_cuppa") {
		t.Errorf("completion: exit %d", code)
	}
}

func TestParseSockets(t *testing.T) {
	tcp := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0000 100 0 0 10 0
   2: 0100007F:0051 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0000 100 0 0 10 0
   3: bad
`
	want := []socketRow{{8080, corev1.ProtocolTCP, "127.0.0.1", "111"}, {80, corev1.ProtocolTCP, "", "222"}}
	if diff := cmp.Diff(want, parseSockets(tcp, corev1.ProtocolTCP, "0A"), cmp.AllowUnexported(socketRow{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := hexAddress("00000000000000000000000001000000"); got != "::1" {
		t.Errorf("IPv6: %s", got)
	}
}

func TestParseStat(t *testing.T) {
	boot := time.Unix(1000, 0)
	got, ok := parseStat("42 (a (b) c) S 7 42 42 34817 42 4194560 1 2 3 4 150 50 0 0 20 0 1 0 500 1 2 3", boot)
	want := compose.Process{PID: 42, PPID: 7, TTY: "pts/1", Command: "[a (b) c]", CPU: 2 * time.Second, Started: time.Unix(1005, 0)}
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, ok := parseStat("nonsense", boot); ok {
		t.Error("nonsense is a process")
	}
}
