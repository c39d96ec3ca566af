// Package helpertest runs a real supervisor for a test: in folders and a cgroup of its own, and with a check that nothing of it
// is left at the end. It needs root. Start with Start.
package helpertest

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/helper"
	"github.com/cuppa-project/cuppa/engine/supervisor"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// Node is a supervisor under test.
type Node struct {
	*supervisor.Client
	Config helper.Config
	Cgroup string // parent of the containers' cgroups
	Dir    string // scratch space
	rootFS string
}

// Start runs a supervisor, and skips the test if it cannot. At the test's end everything is removed and checked.
func Start(t testing.TB) *Node {
	t.Helper()
	leak.Root(t, "containers run")
	dir := t.TempDir()
	n := &Node{Dir: dir, Cgroup: "/cuppa-test-" + filepath.Base(filepath.Dir(dir)) + "-" + strconv.Itoa(os.Getpid()),
		Config: helper.Config{RunDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state"), Log: slog.New(slog.DiscardHandler)}}
	n.rootFS = RootFS(t, filepath.Join(dir, "busybox"))
	n.Connect(t)
	t.Cleanup(func() { n.end(t) })
	return n
}

// Connect joins the supervisor, starting it if it is not there.
func (n *Node) Connect(t testing.TB) {
	t.Helper()
	client, err := helper.Start(t.Context(), n.Config)
	if errors.Is(err, errkind.Precondition) {
		t.Skipf("no helper: %v (go generate ./engine/helper)", err)
	}
	if err != nil {
		t.Fatalf("start supervisor: %v", err)
	}
	n.Client = client
}

// end removes everything and fails the test if anything is left.
func (n *Node) end(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	hello, err := n.Hello(ctx)
	if err == nil {
		err = n.Shutdown(ctx, true)
	} else if errors.Is(err, errkind.Unavailable) {
		err = nil // the test has ended it
	}
	if err != nil {
		t.Errorf("shut down: %v", err)
	}
	for i := 0; hello.Pid != 0 && alive(hello.Pid); i++ {
		if i == 500 {
			t.Errorf("supervisor %d is still there", hello.Pid)
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(n.Config.RunDir, "supervisor.log"))
	if strings.Contains(string(log), "DATA RACE") || strings.Contains(string(log), "panic:") {
		t.Errorf("supervisor has failed")
	}
	if t.Failed() {
		t.Logf("supervisor log:\n%s", log)
	}
	left, err := mount.Below(n.Dir)
	if err != nil {
		t.Errorf("look for mounts: %v", err)
	}
	if len(left) > 0 {
		t.Errorf("mounts are left: %+v", left)
		if _, err := mount.UnmountBelow(n.Dir); err != nil {
			t.Error(err)
		}
	}
	n.checkCgroups(t)
}

// checkCgroups removes the test's own parent cgroups and reports anything below them.
func (n *Node) checkCgroups(t testing.TB) {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*")
	for _, root := range append(roots, "/sys/fs/cgroup") {
		top := filepath.Join(root, n.Cgroup)
		filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && path != top {
				t.Errorf("cgroup %s is left", path)
			}
			return nil
		})
		if err := unix.Rmdir(top); err != nil && err != unix.ENOENT && err != unix.EROFS {
			t.Errorf("remove cgroup %s: %v", top, err)
		}
	}
}

// RootFS makes a root file system of busybox at dir, and returns dir.
func RootFS(t testing.TB, dir string) string {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox (apt install busybox-static)")
	}
	for _, sub := range []string{"bin", "etc", "tmp", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "true", "false", "echo", "cat", "sleep", "id", "hostname", "stty", "ls", "dd", "kill", "grep",
		"nc", "touch", "mount", "env", "seq", "yes", "head", "ps", "wget", "unshare", "tty", "pwd", "stat", "ip", "printf", "test", "tail"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n",
		"etc/group":  "root:x:0:\napp:x:1001:\nextra:x:2002:app\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Layer returns a writable root file system on top of busybox, for the container with this ID.
func (n *Node) Layer(t testing.TB, id string) []container.Mount {
	t.Helper()
	upper, work := filepath.Join(n.Dir, "layers", id, "upper"), filepath.Join(n.Dir, "layers", id, "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []container.Mount{{Type: "overlay", Source: "overlay",
		Options: []string{"lowerdir=" + n.rootFS, "upperdir=" + upper, "workdir=" + work}}}
}

// Spec describes a busybox container with namespaces of its own.
func (n *Node) Spec(t testing.TB, id string, args ...string) container.Spec {
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE"}
	return container.Spec{
		ID:     id,
		RootFS: n.Layer(t, id),
		OCI: &specs.Spec{
			Version: specs.Version,
			Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"},
				Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}},
			Mounts: []specs.Mount{
				{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
				{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
				{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
					Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			},
			Linux: &specs.Linux{
				CgroupsPath: n.Cgroup + "/" + id,
				Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
					{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace}},
			},
		},
	}
}

// alive tells whether a process exists and has not ended. A zombie is what an idle process 1 has not collected yet.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
