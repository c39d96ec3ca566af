package copyup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// image is a root file system with a folder of many kinds of entries.
func image(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	data := filepath.Join(root, "data")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(data, "sub", "deep"), 0o750),
		os.WriteFile(filepath.Join(data, "sub/file"), []byte("text"), 0o640),
		os.WriteFile(filepath.Join(data, "sub/deep/er"), []byte("deeper"), 0o600),
		os.Link(filepath.Join(data, "sub/file"), filepath.Join(data, "twin")),
		os.Symlink("/data", filepath.Join(root, "link")),
		os.Symlink("sub/file", filepath.Join(data, "soft")),
		unix.Mkfifo(filepath.Join(data, "pipe"), 0o622),
		os.WriteFile(filepath.Join(root, "plain"), nil, 0o600),
		os.Chmod(filepath.Join(data, "sub/deep"), 0o500),
		os.Chmod(data, os.ModeSticky|0o777),
		os.Chtimes(filepath.Join(data, "sub/file"), time.Unix(100, 0), time.Unix(100, 0)),
		os.Chtimes(filepath.Join(data, "sub"), time.Unix(200, 0), time.Unix(200, 0)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(data, "sub/file"), 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(data, "sub/deep"), 0o700) })
	return root
}

// tree lists what a folder holds: name, mode, and contents or where a link leads.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := ""
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(data)
		case info.Mode()&fs.ModeSymlink != 0:
			text, err = os.Readlink(path)
		}
		rel, _ := filepath.Rel(dir, path)
		out = append(out, fmt.Sprintf("%s %s %s", rel, info.Mode(), text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFill(t *testing.T) {
	root, to := image(t), t.TempDir()
	var f Filler
	for range 2 { // the second time there is something already
		if err := f.Fill(root, "/link", to); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(tree(t, filepath.Join(root, "data")), tree(t, to)); diff != "" {
		t.Errorf("image and copy differ (-image +copy):\n%s", diff)
	}
	info, err := os.Stat(filepath.Join(to, "sub/file"))
	if err != nil || !info.ModTime().Equal(time.Unix(100, 0)) {
		t.Errorf("copied file is %+v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Join(to, "sub")); err != nil || !info.ModTime().Equal(time.Unix(200, 0)) {
		t.Errorf("copied folder is %+v, %v", info, err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if os.Geteuid() == 0 && (st.Nlink != 2 || st.Uid != 12 || st.Gid != 34) {
		t.Errorf("copied file has %d links and owner %d:%d", st.Nlink, st.Uid, st.Gid)
	}
}

func TestFillLeavesAlone(t *testing.T) {
	root := image(t)
	var f Filler
	for _, from := range []string{"/none", "/plain", "/plain/x", "/data/pipe"} {
		to := t.TempDir()
		if err := f.Fill(root, from, to); err != nil || len(tree(t, to)) != 1 {
			t.Errorf("from %s: %v, got %v", from, err, tree(t, to))
		}
	}
	to := t.TempDir()
	if err := os.WriteFile(filepath.Join(to, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Fill(root, "/data", to); err != nil || len(tree(t, to)) != 2 {
		t.Errorf("a volume in use was filled: %v, %v", err, tree(t, to))
	}
	if err := f.Fill(root, "/data", filepath.Join(to, "mine")); err == nil {
		t.Error("a file was filled")
	}
}

// TestFillSurvivesTheEndAtEachStep ends the program at every step in turn: the next Fill must give the whole folder, whatever it finds.
func TestFillSurvivesTheEndAtEachStep(t *testing.T) {
	root := image(t)
	want := tree(t, filepath.Join(root, "data"))
	var steps []string
	counting := Filler{reached: func(step string) error { steps = append(steps, step); return nil }}
	if err := counting.Fill(root, "/data", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if len(steps) < 12 {
		t.Fatalf("only the steps %v", steps)
	}
	for i, name := range steps {
		to := t.TempDir()
		at := 0
		dying := Filler{reached: func(string) error {
			if at++; at > i {
				return errStopped
			}
			return nil
		}}
		if err := dying.Fill(root, "/data", to); !errors.Is(err, errStopped) {
			t.Fatalf("step %q: %v", name, err)
		}
		var f Filler
		if err := f.Fill(root, "/data", to); err != nil {
			t.Errorf("after the end at %q: %v", name, err)
		}
		if diff := cmp.Diff(want, tree(t, to)); diff != "" {
			t.Errorf("after the end at %q (-image +copy):\n%s", name, diff)
		}
	}
}

// TestFailureLeavesNothing: what could not be copied is taken away, and the next start tries again.
func TestFailureLeavesNothing(t *testing.T) {
	root, to := image(t), t.TempDir()
	full := errors.New("no room")
	failing := Filler{reached: func(step string) error {
		if step == "copying sub/file" {
			return full
		}
		return nil
	}}
	if err := failing.Fill(root, "/data", to); !errors.Is(err, full) || len(tree(t, to)) != 1 {
		t.Errorf("%v, left %v", err, tree(t, to))
	}
}

// TestFillCannotBeLedOutside has a neighbour exchange, at each step, every folder of the volume that it finds for a link to the outside.
func TestFillCannotBeLedOutside(t *testing.T) {
	root := image(t)
	outside := t.TempDir()
	if err := os.Mkdir(filepath.Join(outside, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, swap := range []string{copying, copying + "/sub", copying + "/sub/deep", whole, whole + "/sub", "sub", "sub/deep"} {
		to := t.TempDir()
		swapped := false
		f := Filler{reached: func(string) error {
			path := filepath.Join(to, swap)
			if info, err := os.Lstat(path); err == nil && info.IsDir() {
				if os.Rename(path, filepath.Join(to, "aside")) == nil {
					swapped = os.Symlink(outside, path) == nil
				}
			}
			return nil
		}}
		err := f.Fill(root, "/data", to)
		if !swapped {
			t.Errorf("%s was never there to be exchanged", swap)
		}
		if got := tree(t, outside); len(got) != 2 {
			t.Fatalf("with %s exchanged (%v), something was written outside: %v", swap, err, got)
		}
	}
}

// TestNamesTakenMeanwhileStay: a neighbour that writes into the volume while it is filled keeps what it wrote.
func TestNamesTakenMeanwhileStay(t *testing.T) {
	root, to := image(t), t.TempDir()
	f := Filler{reached: func(step string) error {
		if step == "renaming" {
			return os.WriteFile(filepath.Join(to, "twin"), []byte("mine"), 0o600)
		}
		return nil
	}}
	if err := f.Fill(root, "/data", to); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(filepath.Join(to, "twin")); string(data) != "mine" {
		t.Errorf("got %q", data)
	}
	if names := tree(t, to); slices.ContainsFunc(names, func(s string) bool { return strings.HasPrefix(s, ".cuppa") }) {
		t.Errorf("left %v", names)
	}
}

// TestTogether: containers that share a volume start at once; none may take a half-filled volume for a full one.
func TestTogether(t *testing.T) {
	root, to := image(t), t.TempDir()
	want := tree(t, filepath.Join(root, "data"))
	var f Filler
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if err := f.Fill(root, "/data", to); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, tree(t, to)); diff != "" {
				t.Errorf("started with (-image +volume):\n%s", diff)
			}
		})
	}
	wait.Wait()
	if len(f.busy) != 0 {
		t.Errorf("%d volumes are still held", len(f.busy))
	}
}
