package image_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/cli/build"
	"github.com/cuppa-project/cuppa/cli/image"
	"github.com/cuppa-project/cuppa/cli/socket"
	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

type engine struct{ calls []string }

func (e *engine) Images(context.Context) ([]socket.Image, error) {
	return []socket.Image{
		{ID: "sha256:bbbbbbbbbbbbbbbb", RepoTags: []string{"shop-web:latest", "my/web:2"}, Created: 1000, Size: 5780000},
		{ID: "sha256:aaaaaaaaaaaaaaaa", Created: 1000, Size: 1},
	}, nil
}

func (e *engine) Pull(_ context.Context, ref string, progress func(socket.Message)) error {
	e.calls = append(e.calls, "pull "+ref)
	for range 3 {
		progress(socket.Message{ID: "layer", Status: "Downloading"})
	}
	progress(socket.Message{ID: "layer", Status: "Pull complete"})
	return nil
}

func (e *engine) Load(_ context.Context, archive io.Reader, progress func(socket.Message)) error {
	data, err := io.ReadAll(archive)
	progress(socket.Message{Stream: "Loaded image: " + string(data) + "\n"})
	return err
}

func (e *engine) Save(_ context.Context, names []string) (io.ReadCloser, error) {
	if names[0] == "broken" {
		return io.NopCloser(io.MultiReader(strings.NewReader("half"), failing{})), nil
	}
	return io.NopCloser(strings.NewReader("archive of " + strings.Join(names, ","))), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the connection was cut") }

func (e *engine) Tag(_ context.Context, name, target string) error {
	e.calls = append(e.calls, "tag "+name+" "+target)
	return nil
}

func (e *engine) Remove(_ context.Context, name string, _ bool) ([]socket.Removed, error) {
	if name == "none" {
		return nil, errkind.New(errkind.NotFound, "no such image: none")
	}
	return []socket.Removed{{Untagged: name + ":latest"}, {Deleted: "sha256:1"}}, nil
}

func run(t *testing.T, e *engine, in string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := image.Command(image.Config{Streams: &streams.Streams{In: strings.NewReader(in), Out: &out, Err: &out, Env: map[string]string{"FROM_ENV": "yes"}},
		Engine: e, Now: func() time.Time { return time.Unix(1000+3600*3, 0) },
		Build: func(_ context.Context, builds []build.Image, _ build.Options) error {
			b := builds[0]
			e.calls = append(e.calls, strings.Join([]string{"build", b.Ref, b.Spec.Context, filepath.Base(b.Spec.Dockerfile), *b.Spec.Args["FROM_ENV"]}, " "))
			return nil
		}})
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestVerbs(t *testing.T) {
	e := &engine{}
	for _, tc := range []struct{ in, args, want string }{
		{"", "ls", "REPOSITORY   TAG      IMAGE ID       CREATED       SIZE\nmy/web       2        bbbbbbbbbbbb   3 hours ago   5.78MB\nshop-web     latest   bbbbbbbbbbbb   3 hours ago   5.78MB\n"},
		{"", "ls -q", "bbbbbbbbbbbb\n"},
		{"", "ls my/web -q", "bbbbbbbbbbbb\n"},
		{"", "ls -aq", "bbbbbbbbbbbb\naaaaaaaaaaaa\n"},
		{"bytes", "load", "Loaded image: bytes\n"},
		{"", "save a b", "archive of a,b"},
		{"", "pull redis", "layer: Downloading\nlayer: Pull complete\n"},
		{"", "pull -q redis", ""},
		{"", "rm web", "Untagged: web:latest\nDeleted: sha256:1\n"},
		{"", "tag a b:1", ""},
		{"", "build -t app -f other/File --build-arg FROM_ENV dir", ""},
	} {
		got, err := run(t, e, tc.in, strings.Fields(tc.args)...)
		if err != nil || got != tc.want {
			t.Errorf("image %s: %v\n%swant\n%s", tc.args, err, got, tc.want)
		}
	}
	want := "pull docker.io/library/redis:latest|pull docker.io/library/redis:latest|tag a b:1|build docker.io/library/app:latest dir File yes"
	if got := strings.Join(e.calls, "|"); got != want {
		t.Errorf("calls\n%s\nwant\n%s", got, want)
	}
}

func TestRefusals(t *testing.T) {
	for args, want := range map[string]error{"rm none": errkind.NotFound, "load -i /does/not/exist": errkind.NotFound, "build .": errkind.Invalid} {
		if _, err := run(t, &engine{}, "", strings.Fields(args)...); !errors.Is(err, want) {
			t.Errorf("image %s: %v, want %v", args, err, want)
		}
	}
}

// TestSaveWhole: a file that could not be written to its end does not stay.
func TestSaveWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.tar")
	if _, err := run(t, &engine{}, "", "save", "-o", path, "broken"); err == nil {
		t.Error("half an archive is no error")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("half an archive is left: %v", err)
	}
	if _, err := run(t, &engine{}, "", "save", "-o", path, "whole"); err != nil {
		t.Error(err)
	}
	if data, _ := os.ReadFile(path); string(data) != "archive of whole" {
		t.Errorf("saved %q", data)
	}
}
