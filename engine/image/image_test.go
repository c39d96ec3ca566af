package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// TestMain keeps the libraries silent.
func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	leak.Main(m, leak.Containerd()...)
}

// openStore opens a store in dir for one test.
func openStore(t *testing.T, dir, driver string, opts Options) (*Store, *content.Store) {
	t.Helper()
	leak.Root(t, "layers are mounted to be unpacked")
	layers, err := snapshot.Open(snapshot.Config{Dir: filepath.Join(dir, "layers"), Driver: driver, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := content.Open(t.Context(), content.Config{Dir: filepath.Join(dir, "content"), Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	opts.Content = c
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, c
}

// file is one file of a test image's layer.
type file struct{ name, text string }

// tarOf packs files.
func tarOf(t *testing.T, files ...file) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o755, Size: int64(len(f.text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// dockerArchive is what `docker save` writes, with one layer per element of layers.
func dockerArchive(t *testing.T, cmd string, tags []string, layers ...[]byte) []byte {
	t.Helper()
	config := map[string]any{
		"architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
		"config": map[string]any{"Cmd": []string{cmd}, "Env": []string{"A=b"}, "Healthcheck": map[string]any{"Test": []string{"CMD", "true"}}},
	}
	var diffs, names []string
	var files []file
	for i, layer := range layers {
		sum := sha256.Sum256(layer)
		diffs = append(diffs, "sha256:"+hex.EncodeToString(sum[:]))
		names = append(names, fmt.Sprintf("l%d/layer.tar", i))
		files = append(files, file{names[i], string(layer)})
	}
	config["rootfs"] = map[string]any{"type": "layers", "diff_ids": diffs}
	configJSON, _ := json.Marshal(config)
	manifest, _ := json.Marshal([]any{map[string]any{"Config": "config.json", "RepoTags": tags, "Layers": names}})
	files = append(files, file{"config.json", string(configJSON)}, file{"manifest.json", string(manifest)})
	return tarOf(t, files...)
}

func load(t *testing.T, s *Store, archive []byte) []Loaded {
	t.Helper()
	loaded, err := s.Load(t.Context(), bytes.NewReader(archive), int64(len(archive)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// readRoot mounts a root, reads a file in it, writes one, and unmounts it.
func readRoot(t *testing.T, mounts []container.Mount, name string) string {
	t.Helper()
	dir := t.TempDir()
	var all []mount.Mount
	for _, m := range mounts {
		all = append(all, mount.Mount{Type: m.Type, Source: m.Source, Options: m.Options})
	}
	if err := mount.All(all, dir); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mount.UnmountAll(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "written"), make([]byte, 100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLoadAndRoot(t *testing.T) {
	for _, driver := range []string{snapshot.Overlay, snapshot.Native} {
		t.Run(driver, func(t *testing.T) {
			s, c := openStore(t, t.TempDir(), driver, Options{})
			archive := dockerArchive(t, "/one", []string{"one:latest", "example.org/a/one:2"}, tarOf(t, file{"etc/word", "below"}), tarOf(t, file{"etc/word", "above"}))
			var zipped bytes.Buffer
			zw := gzip.NewWriter(&zipped)
			zw.Write(archive)
			zw.Close()
			loaded := load(t, s, zipped.Bytes())
			if len(loaded) != 1 {
				t.Fatalf("loaded %d images, want 1", len(loaded))
			}
			if diff := cmp.Diff([]string{"one:latest", "example.org/a/one:2"}, loaded[0].Names); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if _, err := c.Sweep(t.Context()); err != nil { // nothing that belongs to the image may go
				t.Fatal(err)
			}
			img, err := s.Inspect(t.Context(), "one")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"example.org/a/one:2", "one:latest"}, img.Tags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			if got := img.Config.Config.Cmd; len(got) != 1 || got[0] != "/one" || img.Config.Config.Healthcheck == nil || img.Size == 0 {
				t.Errorf("image came back as %+v", img)
			}
			mounts, err := s.PrepareRoot(t.Context(), "c1", img.ID.String())
			if err != nil {
				t.Fatal(err)
			}
			if got := readRoot(t, mounts, "etc/word"); got != "above" {
				t.Errorf("read %q from the root, want %q", got, "above")
			}
			again, err := s.PrepareRoot(t.Context(), "c1", "one")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(mounts, again); diff != "" {
				t.Errorf("second PrepareRoot (-first +second):\n%s", diff)
			}
			if bytes, _, err := s.RootUsage(t.Context(), "c1"); err != nil || bytes < 100<<10 {
				t.Errorf("usage of the root is %d, %v, want 100 KiB and more", bytes, err)
			}
			if _, err := s.Remove(t.Context(), img.ID.String(), false); !errors.Is(err, errkind.Conflict) {
				t.Errorf("removing an image in use: %v, want Conflict", err)
			}
			if _, err := c.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := readRoot(t, again, "etc/word"); got != "above" {
				t.Errorf("after a collection the root holds %q", got)
			}
			for range 2 {
				if err := s.RemoveRoot(t.Context(), "c1"); err != nil {
					t.Fatal(err)
				}
			}
			removed, err := s.Remove(t.Context(), "one", false)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Removed{{Untagged: "one:latest"}}, removed); diff != "" {
				t.Errorf("first removal (-want +got):\n%s", diff)
			}
			if _, err := s.Remove(t.Context(), "example.org/a/one:2", false); err != nil {
				t.Fatal(err)
			}
			requireEmpty(t, s, c)
		})
	}
}

// requireEmpty demands that nothing is left in a store after a collection.
func requireEmpty(t *testing.T, s *Store, c *content.Store) {
	t.Helper()
	if _, err := c.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("images left: %v, %v", list, err)
	}
	var left []string
	for _, dir := range []string{filepath.Join(c.Dir(), "blobs"), filepath.Join(c.Dir(), "ingest"), filepath.Join(c.LayerDir(), "snapshots")} {
		filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && path != dir && filepath.Base(path) != "sha256" {
				left = append(left, strings.TrimPrefix(path, dir))
			}
			return nil
		})
	}
	if len(left) != 0 {
		t.Errorf("files left: %q", left)
	}
}

func TestNames(t *testing.T) {
	s, c := openStore(t, t.TempDir(), "", Options{})
	load(t, s, dockerArchive(t, "/a", []string{"app:latest"}, tarOf(t, file{"a", "a"})))
	first, err := s.Inspect(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	load(t, s, dockerArchive(t, "/b", []string{"app:latest"}, tarOf(t, file{"a", "b"})))
	if byDigest, err := s.Inspect(t.Context(), "app:any@"+now(t, s, "app").Manifest.String()); err != nil || byDigest.ID == first.ID {
		t.Errorf("by the digest of its manifest: %v, %v", byDigest.ID, err)
	}
	old, err := s.Inspect(t.Context(), first.ID.Encoded()[:12])
	if err != nil {
		t.Fatalf("the image that lost its name is gone: %v", err)
	}
	if !old.Dangling() {
		t.Errorf("the image that lost its name still has %v", old.Tags)
	}
	if err := s.Tag(t.Context(), old.ID.String(), "old"); err != nil {
		t.Fatal(err)
	}
	removed, _, err := s.Prune(t.Context(), false)
	if err != nil || len(removed) != 0 {
		t.Errorf("prune removed %v, %v: everything has a name", removed, err)
	}
	if _, err := s.Remove(t.Context(), "old", false); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		ref  string
		kind error
		text string
	}{
		{"nosuch", errkind.NotFound, "No such image: nosuch:latest"},
		{"Upper", errkind.Invalid, `"Upper" is no image name: invalid reference format: repository name (library/Upper) must be lowercase`},
		{"sha256:0123456789", errkind.NotFound, "No such image: sha256:0123456789"},
	} {
		_, err := s.Inspect(t.Context(), tc.ref)
		if !errors.Is(err, tc.kind) || err.Error() != tc.text {
			t.Errorf("inspect %q: %v, want %q", tc.ref, err, tc.text)
		}
	}
	if removed, _, err := s.Prune(t.Context(), true); err != nil || len(removed) != 2 {
		t.Errorf("prune of all removed %v, %v", removed, err)
	}
	requireEmpty(t, s, c)
}

func now(t *testing.T, s *Store, name string) Image {
	t.Helper()
	img, err := s.Inspect(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestSaveAndLoadAgain(t *testing.T) {
	s, _ := openStore(t, t.TempDir(), "", Options{})
	load(t, s, dockerArchive(t, "/a", []string{"a:1"}, tarOf(t, file{"a", "a"})))
	load(t, s, dockerArchive(t, "/b", nil, tarOf(t, file{"a", "b"})))
	list, err := s.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("have %v, %v", list, err)
	}
	var archive bytes.Buffer
	var refs []string
	for _, img := range list {
		if img.Dangling() {
			refs = append(refs, img.ID.String())
		} else {
			refs = append(refs, img.Tags...)
		}
	}
	if err := s.Save(t.Context(), &archive, refs...); err != nil {
		t.Fatal(err)
	}
	other, _ := openStore(t, t.TempDir(), "", Options{})
	load(t, other, archive.Bytes())
	got, err := other.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := func(list []Image) (out []string) {
		for _, i := range list {
			out = append(out, i.ID.String()+strings.Join(i.Tags, ","))
		}
		return out
	}
	if diff := cmp.Diff(names(list), names(got)); diff != "" {
		t.Errorf("after save and load (-want +got):\n%s", diff)
	}
	if err := s.Save(t.Context(), io.Discard, "a:1", "nosuch"); !errors.Is(err, errkind.NotFound) {
		t.Errorf("saving an unknown image: %v", err)
	}
}

func TestLoadRefusesWhatIsNoArchive(t *testing.T) {
	s, c := openStore(t, t.TempDir(), "", Options{})
	good := dockerArchive(t, "/a", []string{"a:1"}, tarOf(t, file{"a", strings.Repeat("a", 9000)}))
	for name, data := range map[string][]byte{
		"text":          []byte(strings.Repeat("hello ", 200)),
		"empty":         nil,
		"cut short":     good[:len(good)/2],
		"tar of others": tarOf(t, file{"readme", "hi"}),
		"wrong layer":   bytes.Replace(good, []byte("aaaaaaaaaa"), []byte("aaaaaaaaab"), 1),
	} {
		if _, err := s.Load(t.Context(), bytes.NewReader(data), 0, nil); !errors.Is(err, errkind.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Load(ctx, bytes.NewReader(good), 0, nil); err == nil {
		t.Error("a cancelled load succeeded")
	}
	requireEmpty(t, s, c)
}
