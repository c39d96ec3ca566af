package app

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

func TestLacksNFTables(t *testing.T) {
	whole := fmt.Errorf("check table ip cuppa: %w", unix.EPERM)
	if got := lacksNFTables(whole); got != whole {
		t.Errorf("an error that is no missing part: got %v, want it unchanged", got)
	}
	got := lacksNFTables(fmt.Errorf("check table ip cuppa: rule 3 of chain services: %w", unix.ENOENT))
	if !errors.Is(got, errkind.Precondition) || !strings.Contains(got.Error(), "rule 3 of chain services: no such file or directory: the kernel lacks a part of nftables: load it with `modprobe") {
		t.Errorf("a missing part: got %v", got)
	}
}

func TestRefuseDirectory(t *testing.T) {
	d := directory{"data directory", "--data-dir", "/srv/cuppa"}
	for _, c := range []struct {
		cause error
		kind  error
		want  string
	}{
		{&fs.PathError{Op: "open", Path: "/srv/cuppa/.writable.1", Err: unix.EROFS}, errkind.Precondition,
			"data directory /srv/cuppa cannot be written: read-only file system; choose another place with --data-dir"},
		{&fs.PathError{Op: "write", Path: "/srv/cuppa/.writable.1", Err: unix.ENOSPC}, errkind.Exhausted,
			"data directory /srv/cuppa: no space left on device: make room on the disk, or choose another place with --data-dir"},
	} {
		got := d.refuse(c.cause)
		if !errors.Is(got, c.kind) || got.Error() != c.want {
			t.Errorf("%v:\ngot  %v\nwant %s", c.cause, got, c.want)
		}
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = checkPort("the API", "--listen", l.Addr().String())
	want := fmt.Sprintf("listen for the API on %s: the port is taken by process %d (app.test); end it, or choose another port with --listen", l.Addr(), os.Getpid())
	if !errors.Is(err, errkind.Precondition) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	l.Close()
	if err := checkPort("the API", "--listen", l.Addr().String()); err != nil {
		t.Errorf("the port is free again: %v", err)
	}
}

// TestPreflightChangesNothing holds that looking leaves no trace.
func TestPreflightChangesNothing(t *testing.T) {
	config := Config{DataDir: filepath.Join(t.TempDir(), "data"), RunDir: filepath.Join(t.TempDir(), "run"), NodeName: "n", Listen: "127.0.0.1:1", KubeletListen: ":10250", NoNode: true}
	if err := makeDirs(config); err != nil {
		t.Fatal(err)
	}
	config.Listen = "nonsense"
	if err := preflight(config); !errors.Is(err, errkind.Invalid) {
		t.Errorf("got %v, want an error of the kind invalid", err)
	}
	if err := checkWritable(config); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{config.DataDir, config.RunDir} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 0 {
			t.Errorf("%s: %v, %v; want nothing in it", dir, entries, err)
		}
	}
}

// TestLocks holds that a directory is one server's at a time, and that the other hears who has it.
func TestLocks(t *testing.T) {
	run, data, other := t.TempDir(), t.TempDir(), t.TempDir()
	release, err := takeLocks(Config{RunDir: run, DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{RunDir: run, DataDir: other}, fmt.Sprintf("the run directory %s is in use by a cuppa server (pid %d)", run, os.Getpid())},
		{Config{RunDir: other, DataDir: data}, fmt.Sprintf("the data directory %s is in use by a cuppa server (pid %d)", data, os.Getpid())},
	} {
		_, err := takeLocks(c.config)
		if !errors.Is(err, errkind.Exists) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
	}
	release()
	release, err = takeLocks(Config{RunDir: other, DataDir: data})
	if err != nil {
		t.Fatalf("after the release, and a refusal that must have given back the other directory: %v", err)
	}
	release()
}
