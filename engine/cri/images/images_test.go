package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/engine"
	"github.com/cuppa-project/cuppa/engine/container/containertest"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// TestMain keeps the libraries silent.
func TestMain(m *testing.M) {
	engine.BridgeLogs(slog.New(slog.DiscardHandler))
	leak.Main(m, leak.Containerd()...)
}

// empty is a docker archive of an image without layers.
func empty(t *testing.T) *bytes.Buffer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range [][2]string{
		{"c.json", `{"architecture":"amd64","os":"linux","config":{"Cmd":["/x"],"User":"7"},"rootfs":{"type":"layers","diff_ids":[]}}`},
		{"manifest.json", `[{"Config":"c.json","RepoTags":["web:1"],"Layers":[]}]`},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

func TestImages(t *testing.T) {
	leak.Root(t, "the layer store mounts")
	dir := t.TempDir()
	e, err := engine.New(engine.Config{DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), Runtime: containertest.NewFake(nil), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.Images.Load(t.Context(), empty(t), 0, nil); err != nil {
		t.Fatal(err)
	}
	images := New(e.Images)
	ctx := context.Background()
	img, err := images.Image(ctx, "web:1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"docker.io/library/web:1"}, img.Tags); diff != "" || img.Config.User != "7" {
		t.Errorf("image %+v (-want +got):\n%s", img, diff)
	}
	mounts, err := images.PrepareRootFS(ctx, "c1", img.ID)
	if err != nil || len(mounts) != 1 {
		t.Errorf("root: %+v, %v", mounts, err)
	}
	if disk, err := images.RootFSUsage(ctx, "c1"); err != nil || disk.Inodes == 0 {
		t.Errorf("usage of the root: %+v, %v", disk, err)
	}
	if _, err := images.Image(ctx, "nosuch"); !errors.Is(err, errkind.NotFound) {
		t.Errorf("unknown image: %v", err)
	}
	for range 2 {
		if err := images.RemoveRootFS(ctx, "c1"); err != nil {
			t.Error(err)
		}
		if err := images.RemoveImage(ctx, img.ID); err != nil {
			t.Error(err)
		}
	}
	if list, err := images.ListImages(ctx); err != nil || len(list) != 0 {
		t.Errorf("left: %+v, %v", list, err)
	}
	if disk, err := images.Usage(ctx); err != nil || disk.Path == "" {
		t.Errorf("usage: %+v, %v", disk, err)
	}
}
