package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/cli/compose"
	"github.com/cuppa-project/cuppa/cli/verdict"
)

func run(t *testing.T, env []string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(context.Background(), Config{Args: args, Env: env, In: strings.NewReader(""), Out: &o, Err: &e, Version: "1.2.3",
		Heavy: &fakeHeavy{t: t, out: &o}, Documents: &verdict.Documents{}})
	return code, o.String(), e.String()
}

// fakeHeavy stands for the heavy program: it notes with what it would be started.
type fakeHeavy struct {
	t   *testing.T
	out io.Writer
}

func (h *fakeHeavy) Exec(argv, env []string) error {
	fmt.Fprintf(h.out, "exec %s\n", strings.Join(argv, " "))
	for _, v := range env {
		if strings.HasPrefix(v, "KUBECONFIG=") {
			fmt.Fprintln(h.out, v)
		}
	}
	return nil
}

func (h *fakeHeavy) Start(context.Context, []string, func(*exec.Cmd)) (*exec.Cmd, error) {
	return nil, errors.New("the heavy program is started as a child")
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
		{[]string{"cuppa", "server"}, 0, "exec cuppa server\n", ""},
		{[]string{"cuppa", "server", "--no-node", "--etcd-servers", "https://a:1,https://b:2"}, 0,
			"exec cuppa server --etcd-servers=https://a:1 --etcd-servers=https://b:2 --no-node=true\n", ""},
		{[]string{"cuppa", "--data-dir", dir + "/d", "server"}, 0, "exec cuppa server --data-dir=" + dir + "/d --run-dir=" + dir + "\n", ""},
		{[]string{"cuppa", "--run-dir", dir + "/r", "server", "stop", "--all"}, 0,
			"exec cuppa server stop --data-dir=" + dir + " --run-dir=" + dir + "/r --all=true\n", ""},
		{[]string{"cuppa", "--run-dir", dir + "/r", "server", "status"}, 1, "", "no server is running in " + dir + "/r; start one with: cuppa server start\n"},
		{[]string{"cuppa", "server", "status", "--run-dir", dir + "/r"}, 1, "", "no server is running in " + dir + "/r; start one with: cuppa server start\n"},
		{[]string{"kubectl", "get", "pods"}, 0, "exec kubectl get pods\nKUBECONFIG=" + dir + "/admin.kubeconfig\n",
			"There is no cluster on this machine yet (no " + dir + "/admin.kubeconfig): start one with `cuppa server` or `cuppa up`\n"},
		{[]string{"cuppa", "kubectl"}, 0, "exec kubectl\nKUBECONFIG=" + dir + "/admin.kubeconfig\n", ""},
		{[]string{"cuppa", "--data-dir", "/d", "kubectl"}, 0, "exec kubectl\nKUBECONFIG=/d/admin.kubeconfig\n", ""},
		{[]string{"cuppa", "-p", "x", "kubectl", "get"}, 1, "", "--project-name has no effect on `cuppa kubectl`: it is for the verbs of Compose, which take it before their word\n"},
		{[]string{"cuppa", "-f", "x", "image", "ls"}, 1, "", "--file has no effect on `cuppa image ls`: it is for the verbs of Compose, which take it before their word\n"},
		{[]string{"cuppa", "-f", "x", "compose", "ps"}, 1, "", "--file has no effect on `cuppa compose ps`: it is for the verbs of Compose, which take it before their word\n"},
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
