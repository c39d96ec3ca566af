// Package testkit holds the few helpers that tests of every layer share: golden files and bounded polling.
package testkit

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// update is the flag of every test binary that links this package; a flag is a process's own and set once.
var update = flag.Bool("update", false, "write golden files anew")

// Updating says whether the test runs with -update, for the few tests whose expectations stand between their inputs in one file.
func Updating() bool { return *update }

// Golden compares got with the file testdata/name, or writes the file when the test runs with -update.
func Golden(t testing.TB, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run the test with -update to write it)", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s differs from what it should be (run with -update, and read the diff) (-want +got):\n%s", path, diff)
	}
}

// GoldenPart compares got with a part of a txtar archive, or puts it there when the test runs with -update. The archive's other parts are
// the test's input, so that case and expectation are read together.
func GoldenPart(t testing.TB, path, part, got string) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == part })
	if *update {
		if at < 0 {
			at = len(archive.Files)
			archive.Files = append(archive.Files, txtar.File{Name: part})
		}
		archive.Files[at].Data = []byte(got)
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if at < 0 {
		t.Fatalf("%s has no part %q (run the test with -update to write it)", path, part)
	}
	if diff := cmp.Diff(string(archive.Files[at].Data), got); diff != "" {
		t.Errorf("%s differs from what it should be (run with -update, and read the diff) (-want +got):\n%s", path, diff)
	}
}

// Eventually calls check until it returns nil, and fails the test with its last error when the time is over. It is for tests of
// several processes only; everything in one process is told of changes.
func Eventually(t testing.TB, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
