package mount_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// scene is a folder with something precious beside it.
type scene struct {
	dir, precious string
}

func newScene(t *testing.T) scene {
	t.Helper()
	base := t.TempDir()
	s := scene{dir: filepath.Join(base, "volume"), precious: filepath.Join(base, "precious")}
	for _, dir := range []string{s.dir + "/a/b/c", s.precious + "/deep"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{s.dir + "/a/f", s.dir + "/a/b/g", s.precious + "/deep/treasure"} {
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(s.precious, s.dir+"/a/link"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s scene) keeps(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(s.precious + "/deep/treasure"); err != nil {
		t.Fatalf("what was mounted has lost its contents: %v", err)
	}
}

func asRoot(t *testing.T) {
	t.Helper()
	leak.Root(t, "folders are mounted")
}

// bind mounts from at to until the test ends.
func bind(t *testing.T, from, to string) {
	t.Helper()
	asRoot(t)
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestRemoveAll(t *testing.T) {
	s := newScene(t)
	for range 2 { // the second time there is nothing to do
		if err := mount.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
		if exists(s.dir) {
			t.Error("the folder is still there")
		}
	}
	s.keeps(t) // through the link
	if err := mount.RemoveAll(filepath.Join(s.dir, "none", "at", "all")); err != nil {
		t.Errorf("what is not there is no failure: %v", err)
	}
	for _, bad := range []string{"/", ".", "..", "x/../.."} {
		if err := mount.RemoveAll(bad); !errors.Is(err, errkind.Invalid) {
			t.Errorf("RemoveAll(%q): %v", bad, err)
		}
	}
}

// TestRemoveAllStopsAtMounts uses bind mounts of the same file system, which no device number tells apart.
func TestRemoveAllStopsAtMounts(t *testing.T) {
	for name, point := range map[string]string{"the folder itself": "", "deep inside": "/a/b/c", "a file": "/a/b/g"} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			from := s.precious
			if point == "/a/b/g" {
				from = s.precious + "/deep/treasure"
			}
			bind(t, from, s.dir+point)
			err := mount.RemoveAll(s.dir)
			var mounted *mount.MountedError
			if !errors.As(err, &mounted) || !errors.Is(err, errkind.Precondition) || mounted.Points[0] != s.dir+point {
				t.Errorf("error %v, want one that names %s", err, s.dir+point)
			}
			s.keeps(t)
			if point != "" && exists(s.dir+"/a/f") {
				t.Error("what lies beside the mount was not removed")
			}
		})
	}
}

func TestClear(t *testing.T) {
	s := newScene(t)
	bind(t, s.precious, s.dir+"/a/b/c")
	bind(t, s.precious, s.dir+"/a/b/c") // stacked
	bind(t, s.dir+"/a/f", s.dir+"/a/b/g")
	bind(t, s.precious, s.dir+"/a/b/c/deep") // on a mount
	busy, err := mount.Clear(s.dir)
	if err != nil || len(busy) > 0 || exists(s.dir) {
		t.Errorf("%v, busy %v, still there: %v", err, busy, exists(s.dir))
	}
	s.keeps(t)
	if left, err := mount.Below(filepath.Dir(s.dir)); err != nil || len(left) > 0 {
		t.Errorf("left mounted: %v, %v", left, err)
	}
}

// TestBusyMountsAreNamed holds a file of a mount open.
func TestBusyMountsAreNamed(t *testing.T) {
	s := newScene(t)
	bind(t, s.precious, s.dir+"/a/b/c")
	file, err := os.Open(s.dir + "/a/b/c/deep/treasure")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	busy, err := mount.Clear(s.dir)
	if err != nil || len(busy) != 1 || busy[0] != s.dir+"/a/b/c" {
		t.Errorf("busy %v, %v; want the mount whose file is open", busy, err)
	}
	s.keeps(t)
}

// TestUnmountBelow holds that what dir itself shows stays: somebody else may have mounted that.
func TestUnmountBelow(t *testing.T) {
	s := newScene(t)
	bind(t, s.precious, s.dir)
	bind(t, s.precious, s.dir+"/deep")
	busy, err := mount.UnmountBelow(s.dir)
	points, _ := mount.Below(s.dir)
	if err != nil || len(busy) > 0 || len(points) != 1 || points[0].Path != s.dir {
		t.Errorf("%v, busy %v, left %v; want the outer one left", err, busy, points)
	}
	if busy, err := mount.Clear(s.dir); err != nil || len(busy) > 0 || exists(s.dir) {
		t.Errorf("%v, busy %v", err, busy)
	}
	s.keeps(t)
}

// TestRemoveAllAgainstMounter mounts and unmounts while the removal runs.
func TestRemoveAllAgainstMounter(t *testing.T) {
	asRoot(t)
	s := newScene(t)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if os.MkdirAll(s.dir+"/a/b/c", 0o755) == nil && unix.Mount(s.precious, s.dir+"/a/b/c", "", unix.MS_BIND, "") == nil {
				_ = unix.Unmount(s.dir+"/a/b/c", unix.MNT_DETACH)
			}
		}
	})
	met := 0
	for range 2000 {
		if err := mount.RemoveAll(s.dir); errors.Is(err, errkind.Precondition) {
			met++
		}
		if !exists(s.precious + "/deep/treasure") {
			break
		}
	}
	close(stop)
	wait.Wait()
	s.keeps(t)
	t.Logf("met a mount %d times", met)
}

func TestRemoveAllOfDeepTrees(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "top")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("d", 200)
	for range 150 { // far longer than any path may be
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		if err != nil {
			t.Fatal(err)
		}
		fd = next
	}
	unix.Close(fd)
	if err := mount.RemoveAll(dir); err != nil || exists(dir) {
		t.Errorf("%v, still there: %v", err, exists(dir))
	}
}

func TestRoot(t *testing.T) {
	s := newScene(t)
	for name, to := range map[string]string{"abs": "/etc", "out": "../precious", "in": "a/b", "dangling": "a/none", "circle": "circle"} {
		if err := os.Symlink(to, filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(s.dir+"/fifo", 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := mount.OpenRoot(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, c := range []struct {
		name  string
		links mount.Links
		fails string
	}{
		{"a/b", mount.Refused, ""},
		{"", mount.Refused, ""},
		{"in/g", mount.Refused, "a symbolic link is in the way"},
		{"in/g", mount.Beneath, ""},
		{"abs", mount.Beneath, "it leads out of there"},
		{"out", mount.Beneath, "it leads out of there"},
		{"../precious", mount.Beneath, "it leads out of there"},
		{"../../../../a/f", mount.AsChroot, ""},
		{"abs", mount.AsChroot, "no such file"},
		{"circle", mount.Beneath, "lead in a circle"},
		{"fifo", mount.Beneath, "it is a named pipe"},
		{"none", mount.Beneath, "no such file"},
	} {
		file, err := root.Handle(c.name, c.links)
		if err == nil {
			_ = file.Close()
		}
		if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("handle of %q, links %d: %v, want %q", c.name, c.links, err, c.fails)
		}
	}
	if _, err := root.OpenFile("fifo", mount.Beneath); !errors.Is(err, errkind.Invalid) {
		t.Errorf("a pipe was opened: %v", err)
	}
	if _, err := root.OpenFile("a", mount.Beneath); err == nil || !strings.Contains(err.Error(), "is a folder, not a regular file") {
		t.Errorf("a folder was opened as a file: %v", err)
	}
	if _, err := root.OpenDir("a/f", mount.Beneath); err == nil || !strings.Contains(err.Error(), "is a regular file, not a folder") {
		t.Errorf("a file was opened as a folder: %v", err)
	}
	file, err := root.OpenFile("in/g", mount.Beneath)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if text := make([]byte, 4); true {
		if n, _ := file.Read(text); string(text[:n]) != "x" {
			t.Errorf("read %q", text[:n])
		}
	}
}

func TestDevicesAreRefused(t *testing.T) {
	asRoot(t)
	s := newScene(t)
	if err := unix.Mknod(s.dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("devices cannot be made here: %v", err)
	}
	root, err := mount.OpenRoot(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := root.Handle("null", mount.Beneath); err == nil || !strings.Contains(err.Error(), "it is a character device") {
		t.Errorf("got %v", err)
	}
}

func TestRootMkdirAll(t *testing.T) {
	s := newScene(t)
	for name, to := range map[string]string{"out": "../precious", "in": "a/b", "dangling": "a/none"} {
		if err := os.Symlink(to, filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := mount.OpenRoot(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"new/er", "in/h", "a/b/c", "."} {
		handle, err := root.MkdirAll(name, mount.Beneath, 0o777|os.ModeSetgid)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info, _ := handle.Stat(); !info.IsDir() || name == "new/er" && info.Mode() != os.ModeDir|os.ModeSetgid|0o777 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		_ = handle.Close()
	}
	if !exists(s.dir + "/a/b/h") {
		t.Error("a link that stays inside was not followed")
	}
	for name, why := range map[string]string{"out/new": "leads out", "dangling": "leads to nothing", "a/f/x": "not a directory"} {
		if _, err := root.MkdirAll(name, mount.Beneath, 0o755); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", name, err, why)
		}
	}
	if exists(s.precious + "/new") {
		t.Error("a folder was made outside")
	}
}

// TestMkdirAllAgainstSwapper exchanges a folder for a link to the outside and back while folders are made.
func TestMkdirAllAgainstSwapper(t *testing.T) {
	s := newScene(t)
	if err := os.Symlink(s.precious, s.dir+"/evil"); err != nil {
		t.Fatal(err)
	}
	root, err := mount.OpenRoot(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, s.dir+"/a", unix.AT_FDCWD, s.dir+"/evil", unix.RENAME_EXCHANGE)
			}
		}
	})
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		if handle, err := root.MkdirAll("a/b/new/er", mount.Beneath, 0o755); err == nil {
			_ = handle.Close()
		}
	}
	close(stop)
	wait.Wait()
	entries, err := os.ReadDir(s.precious)
	if err != nil || len(entries) != 1 {
		t.Errorf("something was made outside: %v, %v", entries, err)
	}
}

func TestIsPoint(t *testing.T) {
	s := newScene(t)
	bind(t, s.precious, s.dir+"/a/b")
	for path, want := range map[string]bool{s.dir: false, s.dir + "/a/b": true, s.dir + "/a/b/deep": false} {
		if got, err := mount.IsPoint(path); got != want || err != nil {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	if _, err := mount.IsPoint(s.dir + "/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestBelowResolvesLinks: the mount table knows no links, our callers' paths may have some.
func TestBelowResolvesLinks(t *testing.T) {
	s := newScene(t)
	bind(t, s.precious, s.dir+"/a/b")
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(filepath.Dir(s.dir), alias); err != nil {
		t.Fatal(err)
	}
	points, err := mount.Below(alias + "/volume")
	if err != nil || len(points) != 1 || points[0].Path != s.dir+"/a/b" {
		t.Errorf("got %v, %v", points, err)
	}
}

func TestBindAndUnmount(t *testing.T) {
	asRoot(t)
	s := newScene(t)
	root, err := mount.OpenRoot(s.precious)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	handle, err := root.Handle("deep", mount.Refused)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	target := s.dir + "/a/b"
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	if err := mount.Bind(handle, target); err != nil {
		t.Fatal(err)
	}
	if !exists(target + "/treasure") {
		t.Error("nothing is mounted")
	}
	for range 2 {
		if busy, err := mount.Unmount(target); busy || err != nil {
			t.Errorf("busy %v, %v", busy, err)
		}
	}
	if exists(target + "/treasure") {
		t.Error("it is still mounted")
	}
}

func TestUsage(t *testing.T) {
	s := newScene(t)
	if err := os.WriteFile(s.dir+"/a/big", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(s.dir+"/a/big", s.dir+"/a/again"); err != nil {
		t.Fatal(err)
	}
	got, err := mount.Usage(s.dir)
	if err != nil || got.Bytes < 1<<20 || got.Bytes >= 2<<20 || got.Inodes != 8 {
		t.Errorf("%+v, %v; want one mebibyte, and 8 inodes: four folders, three files, a link", got, err)
	}
	bind(t, s.dir+"/a", s.dir+"/a/b/c") // would be counted twice, or for ever
	if again, err := mount.Usage(s.dir); err != nil || again.Inodes != 7 {
		t.Errorf("%+v, %v; what is mounted inside does not count", again, err)
	}
	if _, err := mount.Usage(s.dir + "/none"); !errors.Is(err, errkind.NotFound) {
		t.Errorf("got %v", err)
	}
}
