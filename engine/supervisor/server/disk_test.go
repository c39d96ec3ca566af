//go:build cgo

package server

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
)

// TestRecordsAfterAPowerCut cuts every record short at every length, and leaves out each step of writing it.
func TestRecordsAfterAPowerCut(t *testing.T) {
	newServer := func(t *testing.T) (*Server, string) {
		t.Helper()
		dir := t.TempDir()
		s := &Server{cfg: Config{StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run")}, log: slog.New(slog.DiscardHandler)}
		c := &ctr{spec: container.Spec{ID: "c", Labels: map[string]string{"a": "b"}, LogPath: "/l",
			OCI: &specs.Spec{Process: &specs.Process{Args: []string{"x"}}, Linux: &specs.Linux{}}},
			status: container.Status{ID: "c", State: container.Exited, ExitCode: 3, Labels: map[string]string{"a": "b"}}}
		if err := os.MkdirAll(s.stateDir("c"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := s.saveSpec(c); err != nil {
			t.Fatal(err)
		}
		if err := s.save(c); err != nil {
			t.Fatal(err)
		}
		return s, s.stateDir("c")
	}
	states := func(t *testing.T, s *Server) (out []container.State) {
		t.Helper()
		all, err := s.records()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			if r.spec.ID != "c" || r.status.ID != "c" || r.status.Labels["a"] != "b" {
				t.Errorf("got %+v", r)
			}
			out = append(out, r.status.State)
		}
		return out
	}
	s, dir := newServer(t)
	if diff := cmp.Diff([]container.State{container.Exited}, states(t, s)); diff != "" {
		t.Errorf("whole (-want +got):\n%s", diff)
	}
	whole, err := os.ReadFile(filepath.Join(dir, statusFile))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		if err := os.WriteFile(filepath.Join(dir, statusFile), whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]container.State{container.Running}, states(t, s)); diff != "" {
			t.Fatalf("%d bytes of the status (-want +got):\n%s", n, diff)
		}
	}
	for name, spoil := range map[string]func(dir string) error{
		"half a specification": func(dir string) error { return os.Truncate(filepath.Join(dir, specFile), 20) },
		"empty specification":  func(dir string) error { return os.Truncate(filepath.Join(dir, specFile), 0) },
		"another container's":  func(dir string) error { return os.WriteFile(filepath.Join(dir, specFile), []byte(`{"ID":"d"}`), 0o600) },
		"no status yet":        func(dir string) error { return os.Remove(filepath.Join(dir, statusFile)) },
		"rename is missing": func(dir string) error {
			return os.Rename(filepath.Join(dir, specFile), filepath.Join(dir, specFile+".new"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := newServer(t)
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			if got := states(t, s); len(got) != 0 {
				t.Errorf("taken for a container: %v", got)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("its folder is still there: %v", err)
			}
		})
	}
	t.Run("a new record that was not renamed", func(t *testing.T) {
		s, dir := newServer(t)
		if err := os.WriteFile(filepath.Join(dir, statusFile+".new"), []byte(`{"ID":`), 0o600); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]container.State{container.Exited}, states(t, s)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
