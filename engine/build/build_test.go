package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/tonistiigi/fsutil"

	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/engine/helper/helpertest"
	"github.com/cuppa-project/cuppa/engine/image"
	"github.com/cuppa-project/cuppa/engine/image/registrytest"
	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/internal/testkit"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// TestMain keeps the libraries silent.
func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	leak.Main(m, leak.BuildKit()...)
}

// bench is a builder on its own stores, with a client.
type bench struct {
	images  *image.Store
	content *content.Store
	builder *Builder
	client  *client.Client
	node    *helpertest.Node
	attach  []session.Attachable // what the client offers the builder
}

const busybox = "/bin/busybox"

func open(t testing.TB) *bench {
	t.Helper()
	leak.Root(t, "layers are mounted to be built")
	if _, err := os.Stat(busybox); err != nil {
		t.Skip("needs a static busybox (package busybox-static)")
	}
	node := helpertest.Start(t)
	t.Setenv("TMPDIR", t.TempDir()) // where BuildKit mounts things for a moment
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	layers, err := snapshot.Open(snapshot.Config{Dir: filepath.Join(dir, "layers"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	store, err := content.Open(t.Context(), content.Config{Dir: filepath.Join(dir, "content"), Layers: layers, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	images, err := image.New(image.Options{Content: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(images.Close)
	b, err := New(Config{Dir: filepath.Join(dir, "build"), Content: store, Images: images, Runtime: node, CgroupParent: node.Cgroup, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(t.Context(), "", client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go b.ServeConn(context.WithoutCancel(ctx), theirs)
		return ours, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := errors.Join(b.Close(), store.Close()); err != nil {
			t.Error(err)
		}
		checkMounts(t, dir)
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), mountPointPrefix+"*")); len(left) > 0 {
			t.Errorf("mount points left: %v", left)
		}
	})
	return &bench{images: images, content: store, builder: b, client: c, node: node}
}

func checkMounts(t testing.TB, dir string) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, dir) {
			t.Errorf("mount left: %s", line)
		}
	}
}

// write makes a build context.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// build builds a context and returns the image's ID and what the steps printed.
func (b *bench) build(t testing.TB, dir, name string, attrs map[string]string) (id, output string, err error) {
	t.Helper()
	root, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	status := make(chan *client.SolveStatus)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range status {
			for _, v := range s.Vertexes {
				if v.Completed != nil {
					fmt.Fprintf(&out, "# %s cached=%v\n", v.Name, v.Cached)
				}
			}
			for _, l := range s.Logs {
				out.Write(l.Data)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	resp, err := b.client.Solve(ctx, nil, client.SolveOpt{
		Frontend: "dockerfile.v0", FrontendAttrs: attrs,
		LocalMounts: map[string]fsutil.FS{"context": root, "dockerfile": root},
		Exports:     []client.ExportEntry{{Type: "image", Attrs: map[string]string{"name": name}}},
		Session:     b.attach,
	}, status)
	<-done
	if err != nil {
		return "", out.String(), err
	}
	return resp.ExporterResponse["containerimage.config.digest"], out.String(), nil
}

const threeSteps = `# syntax=docker/dockerfile:1
FROM scratch
COPY busybox /bin/busybox
COPY word /etc/word
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox cat /etc/word; echo built > /made"]
CMD ["/bin/busybox", "cat", "/made"]
HEALTHCHECK CMD ["/bin/busybox", "true"]
`

func TestBuild(t *testing.T) {
	b := open(t)
	dir := write(t, map[string]string{"Dockerfile": threeSteps, "word": "hello from the context\n"})
	started := time.Now()
	id, out, err := b.build(t, dir, "app", nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("first build %v", time.Since(started))
	if !strings.Contains(out, "hello from the context") {
		t.Errorf("the RUN step's output is missing:\n%s", out)
	}
	img, err := b.images.Inspect(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	if img.ID.String() != id || img.Config.Config.Healthcheck == nil || len(img.Config.RootFS.DiffIDs) != 3 {
		t.Errorf("built %s, stored %+v", id, img)
	}
	if _, err := b.images.PrepareRoot(t.Context(), "c", "app"); err != nil { // it runs at once
		t.Fatal(err)
	}
	started = time.Now()
	again, out, err := b.build(t, dir, "app", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("second build %v", time.Since(started))
	if strings.Contains(out, "hello") || !strings.Contains(out, "cached=true") || again != id {
		t.Errorf("the second build (%s after %s) did not come from the cache:\n%s", again, id, out)
	}
	if _, err := b.content.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.images.Save(t.Context(), io.Discard, "app"); err != nil {
		t.Errorf("the built image cannot be saved: %v", err)
	}
	second := write(t, map[string]string{"Dockerfile": "FROM app AS base\nRUN [\"/bin/busybox\", \"cp\", \"/made\", \"/two\"]\nFROM base\nCOPY --from=base /two /three\nRUN --mount=type=cache,target=/cache [\"/bin/busybox\", \"touch\", \"/cache/x\"]\n"})
	if _, out, err := b.build(t, second, "example.org/two:1", nil); err != nil {
		t.Errorf("build on a local image: %v\n%s", err, out)
	}
	if _, err := b.images.Inspect(t.Context(), "example.org/two:1"); err != nil {
		t.Error(err)
	}
	if freed, err := b.builder.Prune(t.Context(), true); err != nil || freed == 0 {
		t.Errorf("prune freed %d, %v", freed, err)
	}
	if _, err := b.content.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.images.Save(t.Context(), io.Discard, "app", "example.org/two:1"); err != nil {
		t.Errorf("pruning the cache broke an image: %v", err)
	}
	if err := b.images.RemoveRoot(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"app", "example.org/two:1"} {
		if _, err := b.images.Remove(t.Context(), name, false); err != nil {
			t.Fatal(err)
		}
	}
	b.requireLittle(t)
}

// requireLittle demands that without images and cache hardly anything is left on the disk: no layer, and of the records of the last builds
// only what describes them.
func (b *bench) requireLittle(t *testing.T) {
	t.Helper()
	if _, err := b.builder.Prune(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	// BuildKit holds what FROM meant for five more minutes. The test does not wait for that.
	ctx := b.content.Context(t.Context())
	held, err := b.content.Leases().List(ctx, `labels."containerd.io/gc.expire"`)
	if err != nil {
		t.Fatal(err)
	}
	for _, lease := range held {
		if err := b.content.Leases().Delete(ctx, lease); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.content.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(b.content.LayerDir(), "snapshots")); err != nil || len(left) != 0 {
		t.Errorf("layers left: %v, %v", left, err)
	}
	blobs := filepath.Join(b.content.Dir(), "blobs", "sha256")
	entries, err := os.ReadDir(blobs)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Size() > 64<<10 {
			t.Errorf("blob of %d bytes left", info.Size())
		}
	}
}

// TestBuildErrors holds what failing builds say, with the lines of the Dockerfile they are about, against testdata/errors.txt.
func TestBuildErrors(t *testing.T) {
	b := open(t)
	var text strings.Builder
	for _, tc := range []struct{ name, dockerfile string }{
		{"unknown instruction", "FROM scratch\nRUNN x\n"},
		{"no instruction", "# nothing\n"},
		{"wrong flag", "FROM scratch\nCOPY --nosuch=1 a b\n"},
		{"missing argument", "FROM scratch\nCOPY busybox\n"},
		{"missing file", "FROM scratch\nLABEL a=b\nCOPY nosuch /x\n"},
		{"unknown stage", "FROM scratch\nCOPY --from=7 a b\n"},
		{"step fails", "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"sh\", \"-c\", \"exit 3\"]\n"},
		{"no such program", "FROM scratch\nCOPY busybox /b\nRUN [\"/nosuch\"]\n"},
		{"unknown user", "FROM scratch\nCOPY busybox /b\nUSER nobody\nRUN [\"/b\"]\n"},
		{"foreign language", "# syntax=example.org/other\nFROM scratch\n"},
		{"image from where nobody listens", "FROM 127.0.0.1:1/nosuch\n"},
	} {
		_, out, err := b.build(t, write(t, map[string]string{"Dockerfile": tc.dockerfile}), "bad", nil)
		if err == nil {
			t.Errorf("%s: no error\n%s", tc.name, out)
			continue
		}
		fmt.Fprintf(&text, "%s\n\t%v\n", tc.name, err)
		for _, source := range errdefs.Sources(err) {
			for _, r := range source.Ranges {
				fmt.Fprintf(&text, "\t%s line %d\n", source.Info.GetFilename(), r.Start.Line)
			}
		}
		text.WriteString("\n")
	}
	if list, err := b.images.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("failed builds left images: %v, %v", list, err)
	}
	testkit.Golden(t, "errors.txt", regexp.MustCompile(`cuppa::[a-z0-9]{25}`).ReplaceAllString(text.String(), "cuppa::REF"))
}

// TestBuildFromRegistry takes the image of FROM from a registry, once.
func TestBuildFromRegistry(t *testing.T) {
	b := open(t)
	r := registrytest.Start(t, registrytest.Config{})
	base := r.Host + "/base:1"
	if _, out, err := b.build(t, write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY busybox /busybox\n"}), base, nil); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := b.images.Push(t.Context(), base, image.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.images.Remove(t.Context(), base, true); err != nil {
		t.Fatal(err)
	}
	if _, err := b.builder.Prune(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := b.content.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := write(t, map[string]string{"Dockerfile": "FROM " + base + "\nRUN [\"/busybox\", \"echo\", \"on a pulled image\"]\n"})
	if _, out, err := b.build(t, dir, "app", nil); err != nil || !strings.Contains(out, "on a pulled image") {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := b.content.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.images.Save(t.Context(), io.Discard, "app"); err != nil {
		t.Errorf("an image on a pulled one cannot be saved: %v", err)
	}
}

const features = `FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV A=one
ARG B=two
WORKDIR /made/here
RUN --mount=type=secret,id=word echo "secret $(cat /run/secrets/word)"
RUN --mount=type=bind,source=word,target=/w echo "bound $(cat /w)"
RUN --mount=type=tmpfs,target=/t touch /t/x && echo "tmpfs $(ls /t)"
RUN <<EOT
echo "heredoc $A $B $(pwd)"
grep -q localhost /etc/hosts && echo "hosts are there"
test -f /etc/resolv.conf && echo "names are there"
EOT
RUN --network=none echo "links $(ls /sys/class/net | wc -l)"
RUN echo "bad user" | cat > /from-pipe; echo "err on stderr" >&2
USER 1000:1001
RUN echo "user $(id -u) $(id -g)"
COPY --chown=5:6 --chmod=640 word /owned
RUN stat -c "owned %u %g %a" /owned

FROM base AS other
RUN echo "not wanted" && exit 1

FROM base
COPY --from=base /from-pipe /copied
RUN cat /copied
ENTRYPOINT ["/bin/sh"]
EXPOSE 80/tcp
VOLUME /data
STOPSIGNAL SIGINT
`

// TestDockerfileFeatures builds a file that uses most of what Dockerfiles can say, on real containers.
func TestDockerfileFeatures(t *testing.T) {
	b := open(t)
	dir := write(t, map[string]string{"Dockerfile": features, "word": "w0rd", ".dockerignore": "ignored\n", "ignored": "x"})
	b.attach = []session.Attachable{secretsprovider.FromMap(map[string][]byte{"word": []byte("hush")})}
	_, out, err := b.build(t, dir, "app", map[string]string{"build-arg:B": "three"})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"secret hush", "bound w0rd", "tmpfs x", "heredoc one three /made/here", "hosts are there", "names are there", "links 1\n",
		"err on stderr", "user 1000 1001", "owned 5 6 640", "bad user"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if t.Failed() || strings.Contains(out, "not wanted") {
		t.Errorf("output:\n%s", out)
	}
	img, err := b.images.Inspect(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	config := img.Config.Config
	if config.User != "1000:1001" || config.WorkingDir != "/made/here" || config.StopSignal != "SIGINT" || len(config.Volumes) != 1 || len(config.ExposedPorts) != 1 {
		t.Errorf("configuration %+v", config)
	}
}

// TestCacheBound applies the policy that BuildKit applies after builds to a cache that is larger than allowed.
func TestCacheBound(t *testing.T) {
	b := open(t)
	const bound = 3 << 20 // one busybox
	for _, word := range []string{"one", "two", "three"} {
		dir := write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY word /word\nCOPY busybox /busybox\n", "word": word})
		if _, out, err := b.build(t, dir, "app", nil); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if _, _, err := b.images.Prune(t.Context(), true); err != nil { // what images hold is not the cache's
		t.Fatal(err)
	}
	p, err := b.builder.get()
	if err != nil {
		t.Fatal(err)
	}
	usage := make(chan client.UsageInfo)
	go func() {
		for range usage {
		}
	}()
	used := func() (total int64) {
		t.Helper()
		list, err := b.client.DiskUsage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range list {
			total += u.Size
		}
		return total
	}
	before := used()
	if err := p.worker.Prune(t.Context(), usage, cachePolicy(bound)...); err != nil {
		t.Fatal(err)
	}
	close(usage)
	if after := used(); before <= bound || after > bound {
		t.Errorf("the cache took %d bytes and takes %d now, with a bound of %d", before, after, bound)
	}
}

// TestExports sends results to archives, which must load here again.
func TestExports(t *testing.T) {
	b := open(t)
	dir := write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	root, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"docker", "oci"} {
		var archive bytes.Buffer
		status := make(chan *client.SolveStatus)
		go func() {
			for range status {
			}
		}()
		_, err := b.client.Solve(t.Context(), nil, client.SolveOpt{
			Frontend: "dockerfile.v0", LocalMounts: map[string]fsutil.FS{"context": root, "dockerfile": root},
			Exports: []client.ExportEntry{{Type: kind, Attrs: map[string]string{"name": "example.org/" + kind + ":1"},
				Output: func(map[string]string) (io.WriteCloser, error) { return discardClose{&archive}, nil }}},
		}, status)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		loaded, err := b.images.Load(t.Context(), &archive, 0, nil)
		if err != nil || len(loaded) != 1 || len(loaded[0].Names) != 1 || loaded[0].Names[0] != "example.org/"+kind+":1" {
			t.Errorf("%s: loaded %+v, %v", kind, loaded, err)
		}
	}
}

type discardClose struct{ io.Writer }

func (discardClose) Close() error { return nil }

// TestInterruptedBuild breaks a build off in the middle of a RUN step, by its client and by the end of the builder.
func TestInterruptedBuild(t *testing.T) {
	b := open(t)
	dir := write(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"sh\", \"-c\", \"echo begun; /busybox sleep 1000\"]\n"})
	root, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"client", "builder"} {
		ctx, cancel := context.WithCancel(t.Context())
		status := make(chan *client.SolveStatus)
		begun := make(chan struct{})
		go func() {
			for s := range status {
				for _, l := range s.Logs {
					if strings.Contains(string(l.Data), "begun") {
						close(begun)
					}
				}
			}
		}()
		done := make(chan error, 1)
		go func() {
			_, err := b.client.Solve(ctx, nil, client.SolveOpt{Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"no-cache": ""},
				LocalMounts: map[string]fsutil.FS{"context": root, "dockerfile": root}}, status)
			done <- err
		}()
		<-begun
		if what == "client" {
			cancel()
		} else if err := b.builder.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err == nil {
			t.Errorf("%s: an interrupted build succeeded", what)
		}
		cancel()
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // a step is ended in the background
		list, err := b.node.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("containers left: %+v", list)
		}
	}
	if left, _ := os.ReadDir(b.builder.runDir()); len(left) != 0 {
		for _, e := range left {
			if e.IsDir() {
				t.Errorf("left in the run folder: %s", e.Name())
			}
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	bench := open(b)
	dir := write(b, map[string]string{"Dockerfile": threeSteps, "word": "x"})
	if _, out, err := bench.build(b, dir, "app", nil); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	for name, attrs := range map[string]map[string]string{"cold": {"no-cache": ""}, "cached": nil} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, out, err := bench.build(b, dir, "app", attrs); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
		})
	}
}
