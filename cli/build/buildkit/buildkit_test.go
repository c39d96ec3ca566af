package buildkit

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"github.com/cuppa-project/cuppa/cli/build"
	"github.com/cuppa-project/cuppa/compose/model"
)

// TestExplain: an error of a Dockerfile is told with the file and the line.
func TestExplain(t *testing.T) {
	cause := errdefs.WithSource(errors.New("dockerfile parse error on line 2: unknown instruction: RUNN"), &errdefs.Source{
		Info:   &pb.SourceInfo{Filename: "Dockerfile", Data: []byte("FROM scratch\nRUNN x\n")},
		Ranges: []*pb.Range{{Start: &pb.Position{Line: 2}, End: &pb.Position{Line: 2}}},
	})
	err := explain(cause, build.Image{Service: "rng", Spec: &model.Build{Context: "/src/rng"}})
	want := `service "rng": failed to solve: /src/rng/Dockerfile:2: dockerfile parse error on line 2: unknown instruction: RUNN`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if explain(nil, build.Image{}) != nil {
		t.Error("success is explained")
	}
}

func TestPrefix(t *testing.T) {
	for in, want := range map[string]string{"[internal] load": "[rng internal] load", "[1/2] FROM x": "[rng 1/2] FROM x", "exporting": "[rng] exporting"} {
		if got := prefixed("rng", in); got != want {
			t.Errorf("prefixed(%q) = %q, want %q", in, got, want)
		}
	}
	if got := prefixed("", "[internal] load"); got != "[internal] load" {
		t.Errorf("without a service: %q", got)
	}
}

func TestSolveOptions(t *testing.T) {
	dir, value := t.TempDir(), "v"
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	opt, cleanup, err := solveOptions(build.Image{Ref: "docker.io/library/a:latest", NoCache: true, Spec: &model.Build{
		Context: dir, Dockerfile: "sub/Other", Target: "final", Args: map[string]*string{"A": &value, "UNSET": nil},
		Labels: map[string]string{"l": "1"}, Contexts: map[string]string{"more": dir, "base": "docker-image://redis"},
		ExtraHosts: []model.HostName{{Name: "h", IP: "10.0.0.1"}}, Network: "none", Tags: []string{"docker.io/library/b:1"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer cleanup()
	want := map[string]string{"filename": "Other", "image-resolve-mode": "local", "no-cache": "", "target": "final", "build-arg:A": "v", "label:l": "1",
		"add-hosts": "h=10.0.0.1", "force-network-mode": "none", "context:more": "local:more", "context:base": "docker-image://redis"}
	if diff := cmp.Diff(want, opt.FrontendAttrs); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if got := opt.Exports[0].Attrs["name"]; got != "docker.io/library/a:latest,docker.io/library/b:1" {
		t.Errorf("names: %s", got)
	}
	for _, name := range []string{"context", "dockerfile", "more"} {
		if opt.LocalMounts[name] == nil {
			t.Errorf("folder %s is not given", name)
		}
	}
}

// TestInline: an inline Dockerfile is written for the build and removed after it.
func TestInline(t *testing.T) {
	before, _ := filepath.Glob(filepath.Join(os.TempDir(), "cuppa-dockerfile-*"))
	opt, cleanup, err := solveOptions(build.Image{Spec: &model.Build{Context: t.TempDir(), Inline: "FROM scratch\n"}})
	if err != nil || opt.LocalMounts["dockerfile"] == nil {
		t.Fatal(opt, err)
	}
	cleanup()
	after, _ := filepath.Glob(filepath.Join(os.TempDir(), "cuppa-dockerfile-*"))
	if len(after) != len(before) {
		t.Errorf("left behind: %v", after)
	}
	if _, _, err := solveOptions(build.Image{Spec: &model.Build{Context: "/nowhere/at/all", Dockerfile: "Dockerfile"}}); err == nil {
		t.Error("a context that does not exist is taken")
	}
}
