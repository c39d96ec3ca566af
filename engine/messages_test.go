package engine

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/image"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/testkit"
)

// TestMessages holds what people read when something is wrong against testdata/messages.txt: the text is the review.
func TestMessages(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	var text strings.Builder
	say := func(what string, err error) {
		fmt.Fprintf(&text, "%s\n\t%v: %v\n\n", what, errkind.Of(err), err)
	}
	said := func(what string, process func() *outcome) {
		o := process()
		if o.err != nil {
			t.Fatal(o.err)
		}
		fmt.Fprintf(&text, "%s\n\t%s\n\n", what, strings.TrimSpace(o.text))
	}

	cfg := config(filepath.Join(dir, "data"))
	cfg.Credentials = func(string) (image.Auth, error) { return image.Auth{}, nil }
	e := open(t, cfg)
	said("no root", func() *outcome {
		cmd := again(t, filepath.Join(dir, "other"), "")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return ended(cmd.Output())
	})
	said("another process has the store", func() *outcome { return ended(again(t, cfg.DataDir, "").Output()) })
	small := filepath.Join(dir, "small")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small, unix.MNT_DETACH)
	_, err := New(config(small))
	say("no room on the disk", err)
	bad := config(filepath.Join(dir, "bad"))
	bad.SnapshotDriver = "zfs"
	_, err = New(bad)
	say("unknown snapshot driver", err)

	ctx := context.Background()
	_, err = e.Images.Load(ctx, strings.NewReader(strings.Repeat("no archive ", 100)), 0, nil)
	say("load what is no archive", err)
	_, err = e.Images.Load(ctx, strings.NewReader(""), 1<<60, nil)
	say("load what cannot fit", err)
	var archived bytes.Buffer
	if err := archive(&archived, "app", nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Images.Load(ctx, bytes.NewReader(archived.Bytes()), 0, nil); err != nil {
		t.Fatal(err)
	}
	_, err = e.Images.Inspect(ctx, "nosuch")
	say("unknown image", err)
	_, err = e.Images.Inspect(ctx, "sha256:0123")
	say("unknown image ID", err)
	_, err = e.Images.Inspect(ctx, "Wrong")
	say("name in upper case", err)
	_, err = e.Images.Inspect(ctx, "a b")
	say("name with a blank", err)
	say("tag with a digest", e.Images.Tag(ctx, "app", "x@sha256:"+strings.Repeat("0", 64)))
	if _, err := e.Images.PrepareRoot(ctx, "c1", "app"); err != nil {
		t.Fatal(err)
	}
	_, err = e.Images.Remove(ctx, "app", false)
	say("remove an image in use", err)
	_, err = e.Images.PrepareRoot(ctx, "c2", "nosuch:1")
	say("container from an unknown image", err)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	_, err = e.Images.Pull(ctx, closed.Addr().String()+"/app", image.PullOptions{})
	say("pull from where nobody listens", err)
	_, err = e.Images.Push(ctx, "nosuch", image.PullOptions{})
	say("push an unknown image", err)
	say("platform of another machine", image.CheckPlatform("linux/s390x"))
	_, err = e.Volumes.Create("a/b", nil)
	say("volume with a wrong name", err)
	_, err = e.Volumes.Get("nosuch")
	say("unknown volume", err)

	got := strings.ReplaceAll(text.String(), dir, "DIR")
	for pattern, with := range map[string]string{`127\.0\.0\.1:[0-9]+`: "127.0.0.1:PORT", `[0-9]+ MiB`: "N MiB", `image [0-9a-f]{12}`: "image ID", `linux/(amd64|arm64)`: "linux/ARCH"} {
		got = regexp.MustCompile(pattern).ReplaceAllString(got, with)
	}
	testkit.Golden(t, "messages.txt", got)
}

// outcome is what a second process said.
type outcome struct {
	text string
	err  error
}

func ended(out []byte, err error) *outcome { return &outcome{string(out), err} }
