// Package leak holds that a test leaves the machine as it found it: no goroutine, file descriptor, process, mount, thread in another
// network namespace, cgroup, network link or nftables table that the test made may be there when it is over.
//
// It compares what is there before and after, and is tolerant only of what it is told by name. It is not a sandbox: it prevents nothing.
// Other processes may work on the same machine at the same time, so a thing that every process sees counts only if it carries a mark of
// this one (its temporary folder or its process number). Start with Main, which every package with tests for root calls from TestMain,
// and Root, which begins such a test; kinds.go is the table of what is looked for.
package leak

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// Allow is something that may stay. It stands in the TestMain of a package, with its reason.
type Allow struct {
	// Goroutine is the full name of a function; goroutines that are inside it may stay.
	Goroutine string
	// Kind and Part name another thing: one of the kinds in kinds.go, and a part of its line.
	Kind, Part string
	// Why is the reason, for whoever reads the table.
	Why string
}

// process is what all checks of this test program share: a test program is one process with one machine under it.
var process struct {
	sync.Mutex
	owner owner
	allow []Allow
	armed []string // names of the tests that are under a check now
	child bool     // the process is part of another's test, which does the looking
}

// inside tells a test program that another test program has started it as one of its processes.
const inside = "CUPPA_TEST_INSIDE"

// patience is how long a thing may take to go by itself after the test has let go of it.
const patience = 5 * time.Second

// Main runs the tests of a package in a temporary folder of their own, and fails if they left something behind. It does not return.
func Main(m *testing.M, allow ...Allow) { os.Exit(run(m, allow)) }

func run(m interface{ Run() int }, allow []Allow) int {
	if os.Getenv(inside) != "" {
		process.child = true
		return m.Run()
	}
	dir, err := ownFolder(os.TempDir())
	if err != nil {
		fmt.Fprintln(os.Stderr, "leak:", err)
		return 1
	}
	os.Setenv("TMPDIR", dir)
	os.Setenv(inside, dir)
	home, _ := os.Readlink("/proc/self/ns/net") // without it no thread is compared
	process.Lock()
	process.owner, process.allow = owner{dir: dir, pid: os.Getpid(), home: home}, allow
	process.Unlock()
	before := look(process.owner)
	code := m.Run()
	left := before.left(process.owner, allow, patience)
	left = append(left, files(dir)...)
	for _, l := range left {
		fmt.Fprintf(os.Stderr, "left behind by the tests of this package: %s\n", l)
	}
	if len(left) > 0 && code == 0 {
		code = 1
	}
	discard(dir)
	return code
}

// ownFolder makes the folder below which everything of this process lives. Its name is short, because sockets live there too.
func ownFolder(parent string) (string, error) {
	for _, suffix := range []string{"", "a", "b", "c", "d"} {
		dir := filepath.Join(parent, fmt.Sprintf("c%d%s", os.Getpid(), suffix))
		if err := os.Mkdir(dir, 0o755); err == nil || !os.IsExist(err) {
			return dir, err
		}
	}
	return os.MkdirTemp(parent, "c")
}

// Root begins a test that only root can run: it is skipped for others, with the reason, and for root Check holds that nothing is left.
func Root(t testing.TB, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: " + why)
	}
	Check(t)
}

// Check looks at the machine now, and again when the test ends, and fails the test for all that has come and not gone. Called before
// anything else is made, it looks last. A second call in one test, or in a subtest of one that is under a check, does nothing.
func Check(t testing.TB) {
	t.Helper()
	if !arm(t.Name()) {
		return
	}
	process.Lock()
	who, allow, child := process.owner, process.allow, process.child
	process.Unlock()
	if child {
		return
	}
	if who.pid == 0 {
		t.Fatal("leak: the package's TestMain does not call leak.Main")
	}
	// The folder is removed when the clean-ups before this one run: a mount in it must be found before somebody deletes through it.
	t.TempDir()
	before := look(who)
	t.Cleanup(func() {
		disarm(t.Name())
		for _, l := range before.left(who, allow, patience) {
			t.Errorf("left behind: %s", l)
		}
	})
}

func arm(name string) bool {
	process.Lock()
	defer process.Unlock()
	for _, other := range process.armed {
		if name == other || strings.HasPrefix(name, other+"/") {
			return false
		}
	}
	process.armed = append(process.armed, name)
	return true
}

func disarm(name string) {
	process.Lock()
	defer process.Unlock()
	process.armed = slices.DeleteFunc(process.armed, func(other string) bool { return other == name })
}

// view is what was there at one time.
type view struct {
	goroutines goleak.Option
	things     map[string][]string // by kind
}

func look(who owner) view {
	warmUp()
	v := view{goroutines: goleak.IgnoreCurrent(), things: map[string][]string{}}
	for _, k := range kinds {
		if list, err := k.list(who); err == nil { // a kernel without the thing has none that could stay
			v.things[k.name] = list
		}
	}
	return v
}

// warmUp lets the Go runtime open what it keeps for good: its poller.
func warmUp() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
}

// left lists what is there now and was not in the view. It waits a while for things to go by themselves.
func (v view) left(who owner, allow []Allow, wait time.Duration) []string {
	http.DefaultClient.CloseIdleConnections()
	deadline := time.Now().Add(wait)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		left := v.come(who, allow)
		if len(left) == 0 {
			return v.running(allow, time.Until(deadline))
		}
		if time.Now().After(deadline) {
			return append(left, v.running(allow, 0)...)
		}
		time.Sleep(pause)
	}
}

// come lists the things but goroutines that have come since.
func (v view) come(who owner, allow []Allow) []string {
	var left []string
	for _, k := range kinds {
		old, ok := v.things[k.name]
		if !ok {
			continue
		}
		now, err := k.list(who)
		if err != nil {
			left = append(left, fmt.Sprintf("perhaps a %s: %v", k.name, err))
			continue
		}
		for _, thing := range now {
			if !slices.Contains(old, thing) && !permitted(allow, k.name, thing) {
				left = append(left, fmt.Sprintf("%s %s (%s)", k.name, thing, k.hint))
			}
		}
	}
	return left
}

func permitted(allow []Allow, kind, thing string) bool {
	return slices.ContainsFunc(allow, func(a Allow) bool { return a.Kind == kind && strings.Contains(thing, a.Part) })
}

// running lists the goroutines that have come since, with their stacks.
func (v view) running(allow []Allow, wait time.Duration) []string {
	options := []goleak.Option{v.goroutines}
	for _, a := range append(slices.Clone(everywhere), allow...) {
		if a.Goroutine != "" {
			options = append(options, goleak.IgnoreAnyFunction(a.Goroutine))
		}
	}
	for deadline := time.Now().Add(wait); ; {
		err := goleak.Find(options...) // it looks many times, for some hundred milliseconds
		if err == nil {
			return nil
		}
		if !time.Now().Before(deadline) {
			return []string{"goroutines (each with the place where it stands and the one that made it):\n" + err.Error()}
		}
	}
}

// files lists what is in the folder: the tests' own folders are gone when they are over.
func files(dir string) []string {
	var left []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, fmt.Sprintf("file %s (use t.TempDir, or remove it in a clean-up)", filepath.Join(dir, e.Name())))
	}
	return left
}

// discard removes the folder, and first whatever is still mounted below it: nothing is ever deleted through a mount.
func discard(dir string) {
	for {
		points, err := mountPoints(dir)
		if err != nil {
			return
		}
		if len(points) == 0 {
			break
		}
		for _, p := range slices.Backward(points) {
			if unix.Unmount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) != nil {
				return
			}
		}
	}
	os.RemoveAll(dir)
}
