package engine

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/container/containertest"
	"github.com/cuppa-project/cuppa/engine/helper/helpertest"
	"github.com/cuppa-project/cuppa/engine/supervisor"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// TestMain lets tests run a second process of themselves.
func TestMain(m *testing.M) {
	BridgeLogs(slog.New(slog.DiscardHandler)) // the libraries are silent in passing tests
	if dir := os.Getenv("ENGINE_TEST_DIR"); dir != "" {
		second(dir, os.Getenv("ENGINE_TEST_DO"))
		return
	}
	leak.Main(m, leak.BuildKit()...)
}

// second is what the second process does: open an engine, say how that went, and with "load" read an archive from stdin.
func second(dir, do string) {
	cfg := config(dir)
	if socket := os.Getenv("ENGINE_TEST_SUPERVISOR"); socket != "" {
		cfg.Runtime, cfg.CgroupParent = supervisor.New(socket, ""), os.Getenv("ENGINE_TEST_CGROUP")
	}
	e, err := New(cfg)
	if err != nil {
		fmt.Printf("%v: %v\n", errkind.Of(err), err)
		return
	}
	defer e.Close()
	fmt.Println("open")
	if do == "build" {
		fmt.Println(buildIn(e, os.Getenv("ENGINE_TEST_CONTEXT")))
	}
	if do == "load" {
		_, err := e.Images.Load(context.Background(), os.Stdin, 0, nil)
		fmt.Println(err)
	}
}

func config(dir string) Config {
	return Config{DataDir: dir, RunDir: dir, Runtime: containertest.NewFake(nil), Logger: slog.New(slog.DiscardHandler)}
}

func needRoot(t testing.TB) {
	t.Helper()
	leak.Root(t, "layers are mounted to be unpacked")
}

func open(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// archive streams a docker archive with one image of one layer: small files given, and a large one of size bytes.
func archive(w io.Writer, tag string, small map[string]string, large int64) error {
	sum := sha256.New()
	size := &counter{}
	if err := layer(io.MultiWriter(sum, size), small, large); err != nil {
		return err
	}
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/sh","-c","cat /etc/word; echo x > /new"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}`, hex.EncodeToString(sum.Sum(nil)))
	manifest := fmt.Sprintf(`[{"Config":"config.json","RepoTags":[%q],"Layers":["layer.tar"]}]`, tag)
	tw := tar.NewWriter(w)
	for _, f := range [][2]string{{"config.json", config}, {"manifest.json", manifest}} {
		if err := tw.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, f[1]); err != nil {
			return err
		}
	}
	if err := tw.WriteHeader(&tar.Header{Name: "layer.tar", Mode: 0o644, Size: size.n}); err != nil {
		return err
	}
	if err := layer(tw, small, large); err != nil {
		return err
	}
	return tw.Close()
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func layer(w io.Writer, small map[string]string, large int64) error {
	tw := tar.NewWriter(w)
	for _, name := range []string{"bin/busybox", "etc/word"} {
		if text, ok := small[name]; ok {
			if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
				return err
			}
			if _, err := io.WriteString(tw, text); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"sh", "cat"} {
		if err := tw.WriteHeader(&tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}); err != nil {
			return err
		}
	}
	if large > 0 {
		if err := tw.WriteHeader(&tar.Header{Name: "large", Mode: 0o644, Size: large}); err != nil {
			return err
		}
		if _, err := io.CopyN(tw, pattern{}, large); err != nil {
			return err
		}
	}
	return tw.Close()
}

// pattern is an endless reader of bytes that are not all the same.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 7)
	}
	return len(p), nil
}

func streamed(tag string, small map[string]string, large int64) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(archive(w, tag, small, large)) }()
	return r
}

// TestRunFromImage takes an image from its archive to a container's exit.
func TestRunFromImage(t *testing.T) {
	node := helpertest.Start(t)
	cfg := config(t.TempDir())
	cfg.Runtime = node
	e := open(t, cfg)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs a static busybox (package busybox-static)")
	}
	ctx := t.Context()
	if _, err := e.Images.Load(ctx, streamed("app", map[string]string{"bin/busybox": string(busybox), "etc/word": "hello\n"}, 0), 0, nil); err != nil {
		t.Fatal(err)
	}
	img, err := e.Images.Resolve(ctx, "app")
	if err != nil {
		t.Fatal(err)
	}
	root, err := e.Images.PrepareRoot(ctx, "c1", "app")
	if err != nil {
		t.Fatal(err)
	}
	spec := node.Spec(t, "c1", img.Config.Config.Cmd...)
	spec.RootFS = root
	if err := node.Create(ctx, spec); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	attached, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- node.Attach(ctx, "c1", container.Streams{Stdout: &out, Attached: func() { close(attached) }})
	}()
	<-attached
	if err := node.Start(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	status, err := node.Wait(ctx, "c1")
	if err != nil || status.ExitCode != 0 {
		t.Errorf("exit %+v, %v", status, err)
	}
	if err := <-done; err != nil || out.String() != "hello\n" {
		t.Errorf("the container printed %q, %v", out.String(), err)
	}
	if err := node.Delete(ctx, "c1", false); err != nil {
		t.Fatal(err)
	}
	if bytes, _, err := e.Images.RootUsage(ctx, "c1"); err != nil || bytes == 0 {
		t.Errorf("the container's file takes %d bytes, %v", bytes, err)
	}
	if err := e.Images.RemoveRoot(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk fills a small file system with an image that does not fit.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=100m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := error(unix.EBUSY)
		for i := 0; errors.Is(err, unix.EBUSY) && i < 100; i++ {
			// containerd's probe for fs-verity leaves a deleted file open, until Go's collector finds it.
			runtime.GC()
			err = unix.Unmount(dir, 0)
		}
		if err != nil {
			t.Error(err)
		}
	})
	e := open(t, config(filepath.Join(dir, "data")))
	if _, err := e.Images.Load(t.Context(), strings.NewReader(""), 80<<20, nil); !errors.Is(err, errkind.Exhausted) {
		t.Errorf("load of a file that cannot fit: %v, want Exhausted at once", err)
	}
	for what, size := range map[string]int64{"no room for the blob": 120 << 20, "no room for the files": 60 << 20} {
		body := streamed("big", nil, size)
		_, err := e.Images.Load(t.Context(), body, 0, nil)
		body.Close()
		if !errors.Is(err, errkind.Exhausted) || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("%s: %v, want Exhausted", what, err)
		}
		if list, err := e.Images.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%s: images left: %v, %v", what, list, err)
		}
		if _, err := e.Content.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		if used := (st.Blocks - st.Bfree) * uint64(st.Bsize); used > 6<<20 {
			t.Errorf("%s: %d bytes are still taken", what, used)
		}
	}
	if _, err := e.Images.Load(t.Context(), streamed("small", nil, 1<<20), 0, nil); err != nil {
		t.Errorf("afterwards a small image fits: %v", err)
	}
}

// again runs a second process of this test.
func again(t *testing.T, dir, do string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), "ENGINE_TEST_DIR="+dir, "ENGINE_TEST_DO="+do)
	return cmd
}

func TestWhatStandsInTheWay(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	t.Run("another process", func(t *testing.T) {
		e := open(t, config(dir))
		out, err := again(t, dir, "").Output()
		if want := "unavailable: open content store"; err != nil || !strings.HasPrefix(string(out), want) || !strings.Contains(string(out), "another process uses it") {
			t.Errorf("second process: %v %q, want %q", err, out, want)
		}
		if _, err := e.Images.List(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("no root", func(t *testing.T) {
		cmd := again(t, filepath.Join(os.TempDir(), "nobody-writes-here"), "")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), "denied: ") || !strings.Contains(string(out), "must run as root") {
			t.Errorf("without root: %v %q", err, out)
		}
	})
	t.Run("disk already full", func(t *testing.T) {
		small := t.TempDir()
		if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=8m"); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(small, 0)
		if _, err := New(config(small)); !errors.Is(err, errkind.Exhausted) || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("on a full disk: %v, want Exhausted", err)
		}
	})
}

// TestKilled kills a process in the middle of a load.
func TestKilled(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	var whole bytes.Buffer
	if err := archive(&whole, "app", nil, 8<<20); err != nil {
		t.Fatal(err)
	}
	cmd := again(t, dir, "load")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(whole.Bytes()[:6<<20]); err != nil { // the pipe is short: most of it has been read by then
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	e := open(t, config(dir))
	if list, err := e.Images.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("a killed load left %v, %v", list, err)
	}
	if _, err := e.Content.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left int64
	filepath.WalkDir(filepath.Join(dir, "images"), func(_ string, d os.DirEntry, err error) error {
		if info, ierr := d.Info(); err == nil && ierr == nil && info.Mode().IsRegular() {
			left += info.Size()
		}
		return nil
	})
	if left > 5<<20 { // the store's reserve is 4 MiB
		t.Errorf("a killed load left %d bytes", left)
	}
	if _, err := e.Images.Load(t.Context(), &whole, 0, nil); err != nil {
		t.Errorf("the next load: %v", err)
	}
}

// buildIn builds the folder's Dockerfile and prints what the steps print.
func buildIn(e *Engine, folder string) error {
	ctx := context.Background()
	c, err := client.New(ctx, "", client.WithContextDialer(func(context.Context, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go e.Builds.ServeConn(ctx, theirs)
		return ours, nil
	}))
	if err != nil {
		return err
	}
	defer c.Close()
	files, err := fsutil.NewFS(folder)
	if err != nil {
		return err
	}
	status := make(chan *client.SolveStatus)
	go func() {
		for s := range status {
			for _, l := range s.Logs {
				os.Stdout.Write(l.Data)
			}
		}
	}()
	_, err = c.Solve(ctx, nil, client.SolveOpt{Frontend: "dockerfile.v0", LocalMounts: map[string]fsutil.FS{"context": files, "dockerfile": files},
		Exports: []client.ExportEntry{{Type: "image", Attrs: map[string]string{"name": "app"}}}}, status)
	return err
}

// TestKilledBuild kills a process in the middle of a RUN step; the next one finds the step's container and mounts, and clears them.
func TestKilledBuild(t *testing.T) {
	node := helpertest.Start(t)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs a static busybox (package busybox-static)")
	}
	folder, dir := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"busybox": string(busybox), "Dockerfile": "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"sh\", \"-c\", \"echo begun; /busybox sleep 1000\"]\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := again(t, dir, "build")
	cmd.Env = append(cmd.Env, "ENGINE_TEST_SUPERVISOR="+filepath.Join(node.Config.RunDir, "supervisor.sock"), "ENGINE_TEST_CGROUP="+node.Cgroup, "ENGINE_TEST_CONTEXT="+folder)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begun := false
	for lines := bufio.NewScanner(out); !begun && lines.Scan(); {
		begun = lines.Text() == "begun"
		t.Log(lines.Text())
	}
	if !begun {
		t.Fatal("the build did not come to its step")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if list, err := node.List(t.Context()); err != nil || len(list) != 1 {
		t.Fatalf("the step's container did not outlive its builder: %+v, %v", list, err)
	}
	cfg := config(dir)
	cfg.Runtime, cfg.CgroupParent = node, node.Cgroup
	e := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	if err := os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte("FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"true\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := buildIn(e, folder); err != nil {
		t.Errorf("the next build: %v", err)
	}
	if list, err := node.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("containers left: %+v, %v", list, err)
	}
	cancel()
	<-done
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			t.Errorf("mount left: %s", line)
		}
	}
}

// TestMachineCrash opens a store as after a crash of the machine: some layers may be torn, and no container lives.
func TestMachineCrash(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	first := open(t, config(dir))
	layersOf := func(e *Engine) int {
		t.Helper()
		if _, err := e.Content.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(filepath.Join(e.Content.LayerDir(), "snapshots"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if _, err := first.Images.Load(t.Context(), streamed("app", nil, 1<<20), 0, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Images.PrepareRoot(t.Context(), "c1", "app"); err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(first.Content.Dir(), "unsynced")
	if _, err := os.Stat(note); err != nil {
		t.Fatalf("nothing says that layers are not on the disk yet: %v", err)
	}
	reopen := func(e *Engine, boots bool) *Engine {
		t.Helper()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if boots { // the files of the boot before say its name
			for _, name := range []string{"boot", "unsynced"} {
				path := filepath.Join(dir, "images", "content", name)
				data, err := os.ReadFile(path)
				if os.IsNotExist(err) {
					continue
				}
				id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
				data = bytes.ReplaceAll(data, bytes.TrimSpace(id), []byte("the-boot-before"))
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		again, err := New(config(dir))
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	e := reopen(first, false)
	if got := layersOf(e); got != 2 || e.Content.Torn() {
		t.Errorf("after a restart of the program there are %d layers, want 2", got)
	}
	e = reopen(e, true)
	if got := layersOf(e); got != 0 || !e.Content.Torn() {
		t.Errorf("after a crash there are %d layers, want none", got)
	}
	if _, err := e.Images.PrepareRoot(t.Context(), "c2", "app"); err != nil {
		t.Errorf("the image is not unpacked again: %v", err)
	}
	if err := e.Content.WriteOut(); err != nil {
		t.Fatal(err)
	}
	e = reopen(e, true)
	defer e.Close()
	if got := layersOf(e); got != 1 || e.Content.Torn() {
		t.Errorf("after an orderly reboot there are %d layers, want the image's one", got)
	}
}

// waitGone waits until a file in dir is removed; the test's own time-out is the limit.
func waitGone(t *testing.T, dir, path string) {
	t.Helper()
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, dir, unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	for {
		if left, _ := filepath.Glob(path); len(left) == 0 {
			return
		}
		if _, err := unix.Read(watch, make([]byte, 4096)); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

// TestBackgroundCollection waits for Run to free what a removal leaves.
func TestBackgroundCollection(t *testing.T) {
	needRoot(t)
	e := open(t, config(t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	if _, err := e.Images.Load(ctx, streamed("app", nil, 1<<20), 0, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Images.Remove(ctx, "app", false); err != nil {
		t.Fatal(err)
	}
	blobs := filepath.Join(e.Content.Dir(), "blobs", "sha256")
	waitGone(t, blobs, filepath.Join(blobs, "*"))
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func BenchmarkPrepareRoot(b *testing.B) {
	needRoot(b)
	e := open(b, config(b.TempDir()))
	if _, err := e.Images.Load(b.Context(), streamed("app", nil, 1<<20), 0, nil); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		key := fmt.Sprint(i)
		if _, err := e.Images.PrepareRoot(b.Context(), key, "app"); err != nil {
			b.Fatal(err)
		}
		if err := e.Images.RemoveRoot(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	needRoot(b)
	dir := b.TempDir()
	for b.Loop() {
		e, err := New(config(dir))
		if err != nil {
			b.Fatal(err)
		}
		e.Close()
	}
}

func BenchmarkLoad(b *testing.B) {
	needRoot(b)
	const size = 64 << 20
	b.SetBytes(size)
	for i := 0; b.Loop(); i++ {
		e, err := New(config(filepath.Join(b.TempDir(), fmt.Sprint(i))))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := e.Images.Load(b.Context(), streamed("app", nil, size), 0, nil); err != nil {
			b.Fatal(err)
		}
		e.Close()
	}
}
