package leak

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m) }

// leaks are one of each kind that the harness must find: make leaves something behind, and returns how to put it right.
var leaks = []struct {
	kind string // the beginning of what is said of it
	root bool
	make func(t *testing.T) (undo func())
}{
	{"goroutines", false, func(t *testing.T) func() {
		stop := make(chan struct{})
		go func() { <-stop }()
		return func() { close(stop) }
	}},
	{"file descriptor", false, func(t *testing.T) func() {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		return func() { f.Close() }
	}},
	{"process", false, func(t *testing.T) func() {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return func() { cmd.Process.Kill(); cmd.Wait() }
	}},
	{"mount", true, func(t *testing.T) func() {
		dir := t.TempDir()
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		return func() { unix.Unmount(dir, 0) }
	}},
	{"thread", true, func(t *testing.T) func() {
		inside, stop, gone := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(gone)
			elsewhere(t, func() { close(inside); <-stop })
		}()
		<-inside
		return func() { close(stop); <-gone }
	}},
	{"cgroup", true, func(t *testing.T) func() {
		dir := fmt.Sprintf("/sys/fs/cgroup/cuppa-leak-%d", os.Getpid())
		if roots, _ := filepath.Glob("/sys/fs/cgroup/cpu*"); len(roots) > 0 && !exists("/sys/fs/cgroup/cgroup.procs") {
			dir = fmt.Sprintf("%s/cuppa-leak-%d", roots[0], os.Getpid())
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("this machine's cgroups cannot be written: %v", err)
		}
		return func() { unix.Rmdir(dir) }
	}},
	{"network link", true, func(t *testing.T) func() {
		link := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "left"}}
		if err := netlink.LinkAdd(link); err != nil {
			t.Skipf("this kernel makes no dummy links: %v", err)
		}
		return func() { netlink.LinkDel(link) }
	}},
	{"nftables table", true, func(t *testing.T) func() {
		conn, err := nftables.New()
		if err != nil {
			t.Skipf("this kernel has no nftables: %v", err)
		}
		table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "left"})
		if err := conn.Flush(); err != nil {
			t.Skipf("this kernel has no nftables: %v", err)
		}
		return func() { conn.DelTable(table); conn.Flush() }
	}},
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestFinds makes one leak of each kind: it must be named, and must not be once it is put right.
func TestFinds(t *testing.T) {
	for _, leak := range leaks {
		t.Run(leak.kind, func(t *testing.T) {
			if leak.root {
				Root(t, "makes a "+leak.kind)
			}
			apart(t, leak.root, func() {
				before := look(process.owner)
				undo := leak.make(t)
				left := before.left(process.owner, nil, 0)
				undo()
				if !said(left, leak.kind) {
					t.Errorf("a leaked %s was not found; found %q", leak.kind, left)
				}
				if left := before.left(process.owner, nil, patience); len(left) > 0 {
					t.Errorf("still found when it was put right: %q", left)
				}
				undo = leak.make(t)
				defer undo()
				if left := look(process.owner).left(process.owner, nil, 0); len(left) > 0 {
					t.Errorf("what was there before is blamed on the test: %q", left)
				}
			})
		})
	}
}

// apart runs fn on a thread with a network namespace of its own if it needs root, so that links and tables are made in nobody's way.
func apart(t *testing.T, root bool, fn func()) {
	if !root {
		fn()
		return
	}
	elsewhere(t, fn)
}

// elsewhere runs fn on a thread that has left for a new network namespace, and comes back.
func elsewhere(t *testing.T, fn func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Error(err)
		return
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Errorf("make a network namespace: %v", err)
		return
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Errorf("come back: %v", err)
		}
	}()
	fn()
}

func said(left []string, kind string) bool {
	for _, l := range left {
		if strings.HasPrefix(l, kind) {
			return true
		}
	}
	return false
}

// TestAllowed holds that what is named may stay, and nothing else of its kind.
func TestAllowed(t *testing.T) {
	before := look(process.owner)
	stop := make(chan struct{})
	defer close(stop)
	go waitFor(stop)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	allow := []Allow{{Goroutine: "github.com/cuppa-project/cuppa/internal/testkit/leak.waitFor"}, {Kind: "file descriptor", Part: os.DevNull}}
	if left := before.left(process.owner, allow, 0); len(left) > 0 {
		t.Errorf("what may stay was found: %q", left)
	}
	g, err := os.Open("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if left := before.left(process.owner, allow, 0); len(left) != 1 || !strings.Contains(left[0], "stat") {
		t.Errorf("found %q, want the one descriptor that was not named", left)
	}
}

func waitFor(stop chan struct{}) { <-stop }

// recorder is a test that is looked at from outside.
type recorder struct {
	testing.TB
	name     string
	cleanups []func()
	errors   []string
}

func (r *recorder) Helper()           {}
func (r *recorder) Name() string      { return r.name }
func (r *recorder) Cleanup(fn func()) { r.cleanups = append(r.cleanups, fn) }
func (r *recorder) TempDir() string   { return r.TB.TempDir() }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) end() {
	for len(r.cleanups) > 0 {
		last := r.cleanups[len(r.cleanups)-1]
		r.cleanups = r.cleanups[:len(r.cleanups)-1]
		last()
	}
}

// TestCheck holds how Check binds itself to a test: it looks after the test's own clean-ups, and once for a test and its subtests.
func TestCheck(t *testing.T) {
	r := &recorder{TB: t, name: "outer"}
	Check(r)
	stop := make(chan struct{})
	go func() { <-stop }()
	r.Cleanup(func() { close(stop) })
	sub := &recorder{TB: t, name: "outer/inner"}
	Check(sub)
	if len(sub.cleanups) != 0 {
		t.Error("a subtest of a test under a check is checked too: it would be blamed for what its parent does meanwhile")
	}
	r.end()
	if len(r.errors) != 0 {
		t.Errorf("a test that put everything right fails: %q", r.errors)
	}
	again := &recorder{TB: t, name: "outer"}
	Check(again)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	again.end()
	f.Close()
	if len(again.errors) != 1 || !strings.Contains(again.errors[0], os.DevNull) {
		t.Errorf("a test that left a file open says %q", again.errors)
	}
}

// program is a package's tests, seen from Main.
type program func() int

func (p program) Run() int { return p() }

// TestMainFails holds that a package fails when its tests pass and leave something.
func TestMainFails(t *testing.T) {
	keep := process.owner
	back := func() { process.owner = keep; os.Setenv("TMPDIR", keep.dir); os.Unsetenv(inside) }
	defer os.Setenv(inside, keep.dir)
	defer back()
	back()
	if code := run(program(func() int { return 0 }), nil); code != 0 {
		t.Errorf("tests that leave nothing: exit code %d", code)
	}
	back()
	code := run(program(func() int {
		if err := os.WriteFile(filepath.Join(os.TempDir(), "left"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return 0
	}), nil)
	if code == 0 {
		t.Error("tests that leave a file pass")
	}
	back()
	if code := run(program(func() int { return 3 }), nil); code != 3 {
		t.Errorf("tests that fail with 3 give %d", code)
	}
}
