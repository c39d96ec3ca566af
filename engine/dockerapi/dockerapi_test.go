package dockerapi

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/engine"
	"github.com/cuppa-project/cuppa/engine/container/containertest"
	"github.com/cuppa-project/cuppa/engine/image/registrytest"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// TestMain keeps the libraries silent.
func TestMain(m *testing.M) {
	engine.BridgeLogs(slog.New(slog.DiscardHandler))
	leak.Main(m, leak.BuildKit()...)
}

// door serves a new engine on a socket for one test.
func door(t *testing.T) (*engine.Engine, string) {
	t.Helper()
	leak.Root(t, "layers are mounted to be unpacked")
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	runtime := containertest.NewFake(nil)
	e, err := engine.New(engine.Config{DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), Runtime: runtime, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Socket: e.Socket(), Images: e.Images, Volumes: e.Volumes, Builds: e.Builds, Version: "1.2.3", DataDir: dir, Driver: e.Content.LayerDriver(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Run(ctx) }()
	go func() { done <- e.Run(ctx) }()
	for deadline := 0; ; deadline++ { // the socket appears when it listens
		if conn, err := net.Dial("unix", e.Socket()); err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-done:
			t.Fatal(err)
		default:
		}
		if deadline > 1e6 {
			t.Fatal("the socket never listened")
		}
	}
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		runtime.Close()
		if _, err := os.Lstat(e.Socket()); err == nil {
			t.Error("the socket was left behind")
		}
	})
	return e, e.Socket()
}

// ask sends one request to the door.
func ask(t *testing.T, socket, method, path string, body io.Reader) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://docker"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// archive is a docker archive of one image with one file.
func archive(t *testing.T, tag, text string) []byte {
	t.Helper()
	pack := func(files ...[2]string) []byte {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, f := range files {
			if err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
				t.Fatal(err)
			}
			io.WriteString(w, f[1])
		}
		w.Close()
		return buf.Bytes()
	}
	layer := pack([2]string{"file", text})
	sum := sha256.Sum256(layer)
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05Z","config":{"Cmd":["/x"],"Labels":{"a":"b"}},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created_by":"test"}]}`, hex.EncodeToString(sum[:]))
	return pack([2]string{"c.json", config}, [2]string{"manifest.json", fmt.Sprintf(`[{"Config":"c.json","RepoTags":[%q],"Layers":["l.tar"]}]`, tag)}, [2]string{"l.tar", string(layer)})
}

func TestRequests(t *testing.T) {
	_, socket := door(t)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v, want mode 0600", info.Mode(), err)
	}
	if code, text := ask(t, socket, "POST", "/v1.41/images/load", bytes.NewReader(archive(t, "a:1", "x"))); code != 200 || !strings.Contains(text, `"stream":"Loaded image: a:1\n"`) {
		t.Fatalf("load: %d %s", code, text)
	}
	for _, tc := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/_ping", "", 200, "OK"},
		{"GET", "/v1.24/_ping", "", 200, "OK"},
		{"GET", "/version", "", 200, `"ApiVersion":"1.47"`},
		{"GET", "/info", "", 200, `"Images":1`},
		{"GET", "/images/json", "", 200, `"RepoTags":["a:1"]`},
		{"GET", `/images/json?filters={"reference":["b"]}`, "", 200, `[]`},
		{"GET", `/images/json?filters={"label":{"a=b":true}}`, "", 200, `"a:1"`},
		{"GET", `/images/json?filters={"dangling":{"true":true}}`, "", 200, `[]`},
		{"GET", `/images/json?filters=x`, "", 400, `invalid filters`},
		{"GET", "/images/a:1/json", "", 200, `"Cmd":["/x"]`},
		{"GET", "/images/docker.io/library/a:1/json", "", 200, `"Cmd":["/x"]`},
		{"GET", "/images/a:1/history", "", 200, `"CreatedBy":"test"`},
		{"GET", "/images/nosuch/json", "", 404, `{"message":"No such image: nosuch:latest"}`},
		{"GET", "/images/get?names=a:1&names=nosuch", "", 404, `No such image: nosuch:latest`},
		{"POST", "/images/a:1/tag?repo=example.org/b&tag=2", "", 201, ""},
		{"POST", "/images/a:1/tag?repo=Wrong", "", 400, "must be lowercase"},
		{"GET", "/images/example.org/b:2/json", "", 200, `"RepoTags":["a:1","example.org/b:2"]`},
		{"DELETE", "/images/example.org/b:2", "", 200, `[{"Untagged":"example.org/b:2"}]`},
		{"DELETE", "/images/a:1", "", 200, `"Deleted":"sha256:`},
		{"DELETE", "/images/a:1", "", 404, `No such image: a:1`},
		{"POST", "/images/load", "no archive", 400, "no image archive"},
		{"POST", "/images/create", "", 400, "made by a build"},
		{"POST", "/images/x/push", "", 404, "An image does not exist locally with the tag: x"},
		{"POST", "/images/prune", "", 200, `"SpaceReclaimed":0`},
		{"POST", "/volumes/create", `{"Name":"v","Labels":{"k":"1"}}`, 201, `"Mountpoint":`},
		{"POST", "/volumes/create", `{"Name":"v","Driver":"nfs"}`, 404, `plugin not found`},
		{"POST", "/volumes/create", `{"Name":"../v"}`, 400, `invalid characters`},
		{"POST", "/volumes/create", `{`, 400, `no valid JSON`},
		{"GET", "/volumes", "", 200, `"Name":"v"`},
		{"GET", `/volumes?filters={"label":{"k=2":true}}`, "", 200, `"Volumes":[]`},
		{"GET", "/volumes/v", "", 200, `"Labels":{"k":"1"}`},
		{"POST", "/volumes/prune", "", 200, `"VolumesDeleted":[]`},
		{"DELETE", "/volumes/v", "", 204, ""},
		{"DELETE", "/volumes/v", "", 404, `{"message":"get v: no such volume"}`},
		{"GET", "/containers/json", "", 404, "page not found"},
		{"POST", "/grpc", "", 400, "ask for an upgrade"},
	} {
		code, text := ask(t, socket, tc.method, strings.ReplaceAll(tc.path, `"`, "%22"), strings.NewReader(tc.body))
		if code != tc.code || !strings.Contains(text, tc.want) {
			t.Errorf("%s %s: %d %s\nwant %d with %s", tc.method, tc.path, code, strings.TrimSpace(text), tc.code, tc.want)
		}
	}
}

// TestDockerCLI drives the door with docker's own command.
func TestDockerCLI(t *testing.T) {
	cli, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("docker's command line is not installed")
	}
	_, socket := door(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar")
	if err := os.WriteFile(path, archive(t, "shop/a:1", "x"), 0o600); err != nil {
		t.Fatal(err)
	}
	docker := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), cli, args...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+socket, "DOCKER_CONFIG="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	for _, tc := range []struct {
		args string
		want string // of the output; one that begins with "!" is that of a failure
	}{
		{"load -i " + path, "Loaded image: shop/a:1\n"},
		{"image ls --format {{.Repository}}:{{.Tag}}", "shop/a:1\n"},
		{"image inspect --format {{.Os}},{{.Architecture}} shop/a:1", "linux,amd64\n"},
		{"tag shop/a:1 b", ""},
		{"image ls --format {{.Repository}}:{{.Tag}} b", "b:latest\n"},
		{"save -o " + filepath.Join(dir, "b.tar") + " b shop/a:1", ""},
		{"rmi shop/a:1", "Untagged: shop/a:1\n"},
		{"rmi nosuch", "!Error response from daemon: No such image: nosuch:latest\n"},
		{"rmi b", "Untagged: b:latest\nDeleted: sha256:"},
		{"load -i " + filepath.Join(dir, "b.tar"), "Loaded image: b:latest\nLoaded image: shop/a:1\n"},
		{"volume create data", "data\n"},
		{"volume ls --format {{.Name}}", "data\n"},
		{"volume rm data", "data\n"},
		{"version --format {{.Server.Version}}", "1.2.3\n"},
		{"info --format {{.ServerVersion}}", "1.2.3\n"},
		{"image prune -af", "Deleted Images:"},
	} {
		out, err := docker(strings.Split(tc.args, " ")...)
		want, fails := strings.CutPrefix(tc.want, "!")
		if (err != nil) != fails || !strings.Contains(out, want) {
			t.Errorf("docker %s: %v\n%s\nwant %q", tc.args, err, out, want)
		}

	}
}

func TestProgressStreamEndsWithItsError(t *testing.T) {
	w := &recorder{header: http.Header{}}
	s := newStream(w)
	if err := s.end(io.ErrUnexpectedEOF); err == nil {
		t.Error("an error before the first message must become the answer itself")
	}
	s.send(message{Status: "Working", ID: "1"})
	if err := s.end(io.ErrUnexpectedEOF); err != nil {
		t.Errorf("an error after the first message came back: %v", err)
	}
	var got []message
	for dec := json.NewDecoder(&w.body); ; {
		var m message
		if dec.Decode(&m) != nil {
			break
		}
		got = append(got, m)
	}
	want := []message{{Status: "Working", ID: "1"}, {Error: "unexpected EOF", Detail: &errorDetail{"unexpected EOF"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
}

type recorder struct {
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *recorder) WriteHeader(int)             {}

// TestDockerCLIWithRegistry pushes and pulls through the door with docker's own command.
func TestDockerCLIWithRegistry(t *testing.T) {
	cli, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("docker's command line is not installed")
	}
	_, socket := door(t)
	dir := t.TempDir()
	host := registrytest.Start(t, registrytest.Config{}).Host
	name := host + "/shop/a:1"
	if code, text := ask(t, socket, "POST", "/images/load", bytes.NewReader(archive(t, name, "x"))); code != 200 {
		t.Fatal(text)
	}
	for _, tc := range []struct{ args, want string }{
		{"push " + name, "1: digest: sha256:"},
		{"rmi " + name, "Untagged: " + name},
		{"pull " + name, "Status: Downloaded newer image for " + name + "\n" + name + "\n"},
		{"pull " + name, "Status: Image is up to date for " + name},
		{"pull -q " + name, name + "\n"},
		{"pull " + host + "/shop/a:2", "!Error response from daemon: manifest for " + host + "/shop/a:2 not found: manifest unknown: manifest unknown"},
		{"pull --platform linux/s390x " + name, "!platform linux/s390x is not supported"},
		{"pull 127.0.0.1:1/x", "!registry 127.0.0.1:1 cannot be reached: dial tcp 127.0.0.1:1: connect: connection refused (an image can also be loaded from a file: cuppa image load -i FILE)"},
		{"push " + host + "/nosuch", "!An image does not exist locally with the tag: " + host + "/nosuch"},
	} {
		cmd := exec.CommandContext(t.Context(), cli, strings.Split(tc.args, " ")...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+socket, "DOCKER_CONFIG="+dir)
		out, err := cmd.CombinedOutput()
		want, fails := strings.CutPrefix(tc.want, "!")
		if (err != nil) != fails || !strings.Contains(string(out), want) {
			t.Errorf("docker %s: %v\n%s\nwant %q", tc.args, err, out, want)
		}
	}
}
