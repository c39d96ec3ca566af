// Package e2e drives whole nodes as processes: bin/cuppa as a user types it, and kubectl.
//
// Every node lives in a network namespace of its own, without an uplink, and is held to leave nothing behind. Start with node.
package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/internal/testkit"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// node is one machine: a network namespace with a cuppa server.
type node struct {
	t     *testing.T
	netns string
	dir   string
	data  string
	run   string
}

func binary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../bin/cuppa")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("bin/cuppa is not built; run: make build")
	}
	return path
}

// newNode starts a server in a new namespace; when the test ends, everything is ended and the machine is searched for leftovers.
func newNode(t *testing.T) *node {
	t.Helper()
	n := newMachine(t)
	n.cuppa("server", "start")
	return n
}

// newMachine is a node whose server has not been started yet.
func newMachine(t *testing.T) *node {
	t.Helper()
	leak.Root(t, "whole nodes run containers")
	binary(t)
	dir := t.TempDir()
	n := &node{t: t, netns: fmt.Sprintf("cuppa-e2e-%d-%d", os.Getpid(), time.Now().UnixNano()%100000), dir: dir,
		data: filepath.Join(dir, "data"), run: filepath.Join(dir, "run")}
	n.must("ip", "netns", "add", n.netns)
	t.Cleanup(func() {
		n.cuppaIn(dir, "server", "stop", "--all")
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(n.run, "server.log"))
			t.Logf("server log:\n%s", lastLines(string(log), 40))
		}
		n.leftovers()
		exec.Command("ip", "netns", "delete", n.netns).Run()
	})
	n.must("nsenter", "--net=/run/netns/"+n.netns, "ip", "link", "set", "lo", "up")
	return n
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// leftovers fails the test for anything of the node that is still on the machine.
func (n *node) leftovers() {
	for _, left := range n.remains() {
		n.t.Errorf("left behind: %s", left)
	}
}

// remains is what the machine still has of the node.
func (n *node) remains() []string {
	t := n.t
	t.Helper()
	var all []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.dir) {
			all = append(all, "mount: "+line)
		}
	}
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		line, err := os.ReadFile(p)
		if err == nil && bytes.Contains(line, []byte(n.dir)) {
			all = append(all, "process: "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	left, err := filepath.Glob("/sys/fs/cgroup/*/cuppa-" + n.hash())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range left {
		all = append(all, "cgroup: "+dir)
	}
	links := n.inside("ip", "-o", "link")
	if lines := strings.Count(strings.TrimSpace(links), "\n"); lines != 0 {
		all = append(all, "network links:\n"+links)
	}
	if routes := n.inside("ip", "route"); strings.TrimSpace(routes) != "" {
		all = append(all, "routes:\n"+routes)
	}
	if tables := n.inside("nft", "list", "tables"); strings.TrimSpace(tables) != "" {
		all = append(all, "nft tables:\n"+tables)
	}
	return all
}

func (n *node) must(name string, args ...string) string {
	n.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// inside runs a program in the node's network and returns what it printed.
func (n *node) inside(args ...string) string {
	n.t.Helper()
	return n.must("nsenter", append([]string{"--net=/run/netns/" + n.netns, "--"}, args...)...)
}

// command is cuppa in the node's network, in a folder.
func (n *node) command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + n.netns, "--", binary(n.t)}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CUPPA_DATA_DIR="+n.data, "CUPPA_RUN_DIR="+n.run, "KUBECONFIG="+filepath.Join(n.data, "admin.kubeconfig"))
	return cmd
}

// cuppaIn runs a command and returns both of its outputs and its exit code.
func (n *node) cuppaIn(dir string, args ...string) (stdout, stderr string, code int) {
	var o, e bytes.Buffer
	cmd := n.command(dir, args...)
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !asExit(err, &exit) {
		n.t.Errorf("run cuppa %v: %v", args, err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*exit = e
	return ok
}

// cuppa runs a command that must succeed, and returns its standard output.
func (n *node) cuppa(args ...string) string {
	n.t.Helper()
	return n.cuppaAt(n.dir, args...)
}

func (n *node) cuppaAt(dir string, args ...string) string {
	n.t.Helper()
	stdout, stderr, code := n.cuppaIn(dir, args...)
	if code != 0 {
		n.t.Fatalf("cuppa %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// kubectl runs the machine's own kubectl, or the one inside cuppa if there is none.
func (n *node) kubectl(args ...string) string {
	n.t.Helper()
	out, err := n.tryKubectl(args...)
	if err != nil {
		n.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (n *node) tryKubectl(args ...string) (string, error) {
	cmd := n.kubectlCommand(args...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (n *node) kubectlCommand(args ...string) *exec.Cmd {
	if path, err := exec.LookPath("kubectl"); err == nil {
		cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + n.netns, "--", path}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(n.data, "admin.kubeconfig"))
		cmd.Dir = n.dir
		return cmd
	}
	return n.command(n.dir, append([]string{"kubectl"}, args...)...)
}

// busybox loads an image of Debian's static busybox, under the name busybox.
func (n *node) busybox() {
	n.t.Helper()
	path := filepath.Join(n.dir, "busybox.tar")
	if err := os.WriteFile(path, busyboxArchive(n.t), 0o644); err != nil {
		n.t.Fatal(err)
	}
	n.cuppa("image", "load", "-i", path)
}

// busyboxArchive makes a docker-archive with one layer.
func busyboxArchive(t *testing.T) []byte {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs Debian's busybox-static")
	}
	applets, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(w *tar.Writer, h tar.Header, data []byte) {
		h.Size = int64(len(data))
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "etc", "root", "tmp"} {
		add(w, tar.Header{Name: dir, Typeflag: tar.TypeDir}, nil)
	}
	add(w, tar.Header{Name: "bin/busybox"}, program)
	for _, name := range strings.Fields(string(applets)) {
		if name != "busybox" {
			add(w, tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
	}
	add(w, tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	digest := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer.Bytes())}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest := fmt.Sprintf(`[{"Config":"%s.json","RepoTags":["busybox:latest"],"Layers":["layer.tar"]}]`, digest(config))
	var out bytes.Buffer
	a := tar.NewWriter(&out)
	add(a, tar.Header{Name: digest(config) + ".json", Mode: 0o644}, config)
	add(a, tar.Header{Name: "layer.tar", Mode: 0o644}, layer.Bytes())
	add(a, tar.Header{Name: "manifest.json", Mode: 0o644}, []byte(manifest))
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// eventually is testkit's, with the time that processes need.
func (n *node) eventually(check func() error) {
	n.t.Helper()
	testkit.Eventually(n.t, 30*time.Second, check)
}

// write puts a file into the node's folder and returns its path.
func (n *node) write(name, content string) string {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// follow runs a command in the background and collects its standard output, until the test ends.
type follow struct {
	cmd *exec.Cmd
	out *lines
}

func start(t *testing.T, cmd *exec.Cmd) *follow {
	t.Helper()
	f := &follow{cmd: cmd, out: newLines()}
	cmd.Stdout, cmd.Stderr = f.out, f.out
	cmd.Stdin = nil
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
	})
	return f
}

// hash is what tells this node's cgroups from others'.
func (n *node) hash() string {
	sum := sha256.Sum256([]byte(n.run))
	return hex.EncodeToString(sum[:4])
}
