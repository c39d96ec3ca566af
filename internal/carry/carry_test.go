package carry

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// actVariable makes the test's own program act as the carried one, or as one that carries.
const actVariable = "CARRY_TEST_ACT"

func TestMain(m *testing.M) {
	switch act, dir, _ := strings.Cut(os.Getenv(actVariable), "="); act {
	case "carried":
		exe, _ := os.Readlink("/proc/self/exe")
		comm, _ := os.ReadFile("/proc/self/comm")
		fmt.Printf("%s|%s|%s", strings.Join(os.Args, " "), exe, bytes.TrimSpace(comm))
		os.Exit(7)
	case "carry":
		p := Program{Name: "prog", Shown: "shown", Files: os.DirFS(dir), Dirs: strings.Split(os.Getenv("CARRY_TEST_DIRS"), ":")}
		fmt.Println(p.Exec(os.Args, []string{actVariable + "=carried"}))
		os.Exit(1)
	}
	leak.Main(m)
}

// packed is this test's own program as another carries it.
func packed(t *testing.T) fstest.MapFS {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	var zst bytes.Buffer
	note, err := Pack(self, &zst)
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"prog.zst": {Data: zst.Bytes()}, "prog.json": {Data: note}}
}

// private is a folder that passes for safe: the system's folder for temporary files is open to all, but what is in it is protected.
func safeDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for path := dir; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o700); err != nil {
			break // it is not ours
		}
	}
	return filepath.Join(dir, "cache")
}

// TestExec becomes a carried program, kept in a folder, then from memory: arguments, exit code and name are as they should be.
func TestExec(t *testing.T) {
	files := packed(t)
	carried := t.TempDir()
	for name, f := range files {
		if err := os.WriteFile(filepath.Join(carried, name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := safeDir(t)
	for _, c := range []struct{ name, dirs, exe, comm string }{
		{"kept", dir, dir + "/prog/", "shown"},
		{"kept already", dir, dir + "/prog/", "shown"},
		{"no folder", "", "/memfd:shown (deleted)", ""},
		{"a folder that cannot be", "/proc/nowhere", "/memfd:shown (deleted)", ""},
	} {
		cmd := exec.Command("/proc/self/exe", "x", "y z")
		cmd.Args[0] = "name"
		cmd.Env = append(os.Environ(), actVariable+"=carry="+carried, "CARRY_TEST_DIRS="+c.dirs)
		out, err := cmd.Output()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 7 {
			t.Fatalf("%s: %v, want exit 7\n%s", c.name, err, out)
		}
		got := strings.Split(string(out), "|")
		if got[0] != "name x y z" || !strings.HasPrefix(got[1], c.exe) || c.comm != "" && got[2] != c.comm {
			t.Errorf("%s: got %q, want arguments %q, program %s..., name %s", c.name, got, "name x y z", c.exe, c.comm)
		}
	}
}

// TestOpenTogether: many that start at once all get the whole program, which is unpacked once.
func TestOpenTogether(t *testing.T) {
	files := &counting{MapFS: packed(t)}
	p := Program{Name: "prog", Shown: "shown", Files: files, Dirs: []string{safeDir(t)}}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			o, err := p.Open()
			if err != nil {
				t.Error(err)
				return
			}
			defer o.Close()
			self, _ := os.ReadFile("/proc/self/exe")
			if got, err := os.ReadFile(o.Path); err != nil || !bytes.Equal(got, self) {
				t.Errorf("%s: %v, %d bytes, want %d", o.Path, err, len(got), len(self))
			}
		})
	}
	group.Wait()
	if files.opened != 1 {
		t.Errorf("unpacked %d times, want once", files.opened)
	}
}

// counting counts how often the program is unpacked.
type counting struct {
	fstest.MapFS
	lock   sync.Mutex
	opened int
}

func (c *counting) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, ".zst") {
		c.lock.Lock()
		defer c.lock.Unlock()
		c.opened++
	}
	return c.MapFS.Open(name)
}

// TestLeftovers: what a killed start, another build and another run of the kernel left is cleared away; what runs meanwhile is not harmed.
func TestLeftovers(t *testing.T) {
	dir := safeDir(t)
	old := Program{Name: "prog", Shown: "shown", Files: packed(t), Dirs: []string{dir}}
	first, err := old.Open()
	if err != nil {
		t.Fatal(err)
	}
	running, err := os.Open(first.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	for _, left := range []string{"new-123", "0123456789abcdef-0123456789abcdef"} {
		if err := os.MkdirAll(filepath.Join(dir, "prog", left, "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var zst bytes.Buffer
	note, err := Pack(strings.NewReader("another build"), &zst)
	if err != nil {
		t.Fatal(err)
	}
	next := Program{Name: "prog", Shown: "shown", Files: fstest.MapFS{"prog.zst": {Data: zst.Bytes()}, "prog.json": {Data: note}}, Dirs: []string{dir}}
	second, err := next.Open()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "prog"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{filepath.Base(filepath.Dir(second.Path)), "lock"}; strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("the folder holds %v, want %v", names, want)
	}
	if n, err := running.ReadAt(make([]byte, 4), 0); n != 4 {
		t.Errorf("the older program can no longer be read: %v", err)
	}
}

// TestNotTrusted: a file that somebody else could have written is never run.
func TestNotTrusted(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, dir, path string)
		kept  bool // the folder is used again; otherwise the program comes from memory
	}{
		{"another size", func(t *testing.T, _, path string) { write(t, path, "bad") }, true},
		{"a writable program", func(t *testing.T, _, path string) { must(t, os.Chmod(path, 0o755)) }, true},
		{"a link", func(t *testing.T, _, path string) {
			must(t, os.Rename(path, path+".real"))
			must(t, os.Symlink(path+".real", path))
		}, true},
		{"a folder open to others", func(t *testing.T, dir, _ string) { must(t, os.Chmod(filepath.Join(dir, "prog"), 0o755)) }, false},
		{"a parent that others may write", func(t *testing.T, dir, _ string) { must(t, os.Chmod(dir, 0o777)) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := safeDir(t)
			p := Program{Name: "prog", Shown: "shown", Files: packed(t), Dirs: []string{dir}}
			o, err := p.Open()
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(t, dir, o.Path)
			again, err := p.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if kept := strings.HasPrefix(again.Path, dir); kept != c.kept {
				t.Errorf("the program is %s, want it in the folder: %v", again.Path, c.kept)
			}
			self, _ := os.ReadFile("/proc/self/exe")
			if got, err := os.ReadFile(again.Path); err != nil || !bytes.Equal(got, self) {
				t.Errorf("%s is not the program: %v", again.Path, err)
			}
		})
	}
}

// TestFullDisk: a folder without room is left as it was, and the program comes from memory.
func TestFullDisk(t *testing.T) {
	leak.Root(t, "a file system without room is mounted")
	dir := safeDir(t)
	must(t, os.Mkdir(dir, 0o700))
	must(t, unix.Mount("small", dir, "tmpfs", 0, "size=64k,mode=700"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	p := Program{Name: "prog", Shown: "shown", Files: packed(t), Dirs: []string{dir}}
	o, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if strings.HasPrefix(o.Path, dir) {
		t.Errorf("the program is %s", o.Path)
	}
	left, _ := filepath.Glob(dir + "/prog/*")
	if len(left) != 1 || filepath.Base(left[0]) != "lock" {
		t.Errorf("left behind: %v", left)
	}
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_NOEXEC, "size=200m,mode=700"))
	o, err = p.Open()
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
	if strings.HasPrefix(o.Path, dir) {
		t.Errorf("noexec: the program is %s", o.Path)
	}
}

// TestStartAgain: a program that is cleared away between its opening and its start is opened once more.
func TestStartAgain(t *testing.T) {
	p := Program{Name: "prog", Shown: "shown", Files: packed(t), Dirs: []string{safeDir(t)}}
	tries := 0
	err := p.start(func(o *Opened) error {
		if tries++; tries == 1 {
			must(t, os.RemoveAll(filepath.Dir(o.Path)))
		}
		return syscall.Access(o.Path, unix.X_OK)
	})
	if err != nil || tries != 2 {
		t.Errorf("%d tries, %v", tries, err)
	}
}

func TestNotBuilt(t *testing.T) {
	p := Program{Name: "prog", Files: fstest.MapFS{}}
	if _, err := p.Open(); !errors.Is(err, errkind.Precondition) || err.Error() != `this program was built without its part "prog": build with make` {
		t.Errorf("got %v", err)
	}
	for _, note := range []string{"", "{}", `{"sum":"zz","size":1}`, `{"sum":"` + strings.Repeat("a", 64) + `"}`} {
		p.Files = fstest.MapFS{"prog.json": {Data: []byte(note)}}
		if _, err := p.Open(); err == nil {
			t.Errorf("the note %q is accepted", note)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.Chmod(path, 0o700))
	must(t, os.WriteFile(path, []byte(text), 0o700))
	must(t, os.Chmod(path, 0o500))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
