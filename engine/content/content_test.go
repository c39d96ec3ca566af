package content

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	bcontent "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/testkit/leak"
)

// TestMain keeps the libraries silent.
func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	leak.Main(m, leak.Containerd()...)
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct{ err, kind error }{
		{errdefs.ErrNotFound, errkind.NotFound},
		{errdefs.ErrAlreadyExists, errkind.Exists},
		{errdefs.ErrUnavailable, errkind.Unavailable},
		{&os.PathError{Op: "write", Err: syscall.ENOSPC}, errkind.Exhausted},
		{errkind.New(errkind.Denied, "no"), errkind.Denied},
		{errors.New("odd"), errkind.Internal},
		{context.Canceled, nil},
	} {
		got := Wrap(fmt.Errorf("below: %w", tc.err), "do %d", 1)
		if errkind.Of(got) != tc.kind || !errors.Is(got, tc.err) || got.Error() != "do 1: below: "+tc.err.Error() {
			t.Errorf("Wrap(%v) is %v of kind %v, want kind %v", tc.err, got, errkind.Of(got), tc.kind)
		}
	}
	if Wrap(nil, "x") != nil {
		t.Error("Wrap(nil) is an error")
	}
}

// TestLease writes a blob under a lease: it is there as long as the lease is, and not after a restart.
func TestLease(t *testing.T) {
	leak.Root(t, "the layer store mounts")
	dir := t.TempDir()
	open := func() *Store {
		layers, err := snapshot.Open(snapshot.Config{Dir: filepath.Join(dir, "layers"), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), Config{Dir: filepath.Join(dir, "content"), Layers: layers})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	blob := []byte("some content")
	desc := ocispec.Descriptor{Digest: digest.FromBytes(blob), Size: int64(len(blob))}
	has := func(s *Store) bool {
		t.Helper()
		if _, err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := s.Blobs().Info(s.Context(t.Context()), desc.Digest)
		return err == nil
	}
	write := func(s *Store) (done func()) {
		t.Helper()
		ctx, done, err := s.Lease(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := bcontent.WriteBlob(ctx, s.Blobs(), "x", bytes.NewReader(blob), desc); err != nil {
			t.Fatal(err)
		}
		return done
	}
	s := open()
	done := write(s)
	if !has(s) {
		t.Error("a leased blob was collected")
	}
	done()
	if has(s) {
		t.Error("a blob outlived its lease")
	}
	write(s) // as if killed here
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	if has(s) {
		t.Error("a lease outlived a restart")
	}
}
