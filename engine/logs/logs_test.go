package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cuppa-project/cuppa/internal/crilog"
)

func stamp(sec int) func() time.Time {
	return func() time.Time { return time.Date(2026, 1, 2, 3, 4, sec, 5, time.UTC) }
}

func TestWriterFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "0.log")
	w, err := Open(Config{Path: path, Now: stamp(5)})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", crilog.MaxMessage+3)
	for _, s := range []string{"one\ntw", "o\n\n", long + "\n", "end"} {
		if err := w.Write(crilog.Stdout, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Write(crilog.Stderr, []byte("bad\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	at := "2026-01-02T03:04:05.000000005Z "
	want := at + "stdout F one\n" + at + "stdout F two\n" + at + "stdout F \n" +
		at + "stdout P " + long[:crilog.MaxMessage] + "\n" + at + "stdout F xxx\n" + at + "stderr F bad\n" + at + "stdout P end\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("log file (-want +got):\n%s", diff)
	}
}

func TestFollowOverRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	w, err := Open(Config{Path: path, MaxSize: 1000, Keep: 100})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	r, pipe := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := crilog.Read(context.Background(), path, crilog.Options{Tail: -1, Follow: true, Ended: ended}, pipe, nil)
		pipe.CloseWithError(err)
		done <- err
	}()
	var want strings.Builder
	go func() {
		for i := range 1000 {
			w.Write(crilog.Stdout, fmt.Appendf(nil, "line %d\n", i))
		}
		w.Close()
		close(ended)
	}()
	for i := range 1000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	got, _ := io.ReadAll(r)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("followed output (-want +got):\n%s", diff)
	}
}

// BenchmarkWrite is what a busy container costs.
func BenchmarkWrite(b *testing.B) {
	w, err := Open(Config{Path: filepath.Join(b.TempDir(), "0.log"), MaxSize: 10 << 20, Keep: 2})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	chunk := bytes.Repeat([]byte("this is a line of a log file that is somewhat long\n"), 600)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if err := w.Write(crilog.Stdout, chunk); err != nil {
			b.Fatal(err)
		}
	}
}
