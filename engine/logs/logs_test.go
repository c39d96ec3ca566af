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
	long := strings.Repeat("x", maxRecord+3)
	for _, s := range []string{"one\ntw", "o\n\n", long + "\n", "end"} {
		if err := w.Write(Stdout, []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Write(Stderr, []byte("bad\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	at := "2026-01-02T03:04:05.000000005Z "
	want := at + "stdout F one\n" + at + "stdout F two\n" + at + "stdout F \n" +
		at + "stdout P " + long[:maxRecord] + "\n" + at + "stdout F xxx\n" + at + "stderr F bad\n" + at + "stdout F end\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("log file (-want +got):\n%s", diff)
	}
}

// fill writes lines "1" to "n" over several rotated files.
func fill(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	w, err := Open(Config{Path: path, MaxSize: 200, Keep: 50, Now: stamp(0)})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		w.cfg.Now = stamp(i)
		if err := w.Write(Stdout, fmt.Appendf(nil, "%d\n", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	path := fill(t, 20)
	for _, tc := range []struct {
		name  string
		query Query
		want  string
	}{
		{"all", Query{Tail: -1}, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n20\n"},
		{"tail none", Query{Tail: 0}, ""},
		{"tail over files", Query{Tail: 9}, "12\n13\n14\n15\n16\n17\n18\n19\n20\n"},
		{"tail more than there is", Query{Tail: 99, Until: stamp(2)()}, "1\n2\n"},
		{"since", Query{Tail: -1, Since: stamp(19)()}, "19\n20\n"},
		{"limit", Query{Tail: -1, Limit: 5}, "1\n2\n3"},
		{"timestamps", Query{Tail: 1, Timestamps: true}, "2026-01-02T03:04:20.000000005Z 20\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Read(t.Context(), path, tc.query, &out, nil); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, out.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTailJoinsPieces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	w, err := Open(Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("y", 5*maxRecord+1)
	w.Write(Stdout, []byte("first\n"+long+"\nlast\n"))
	w.Close()
	var out bytes.Buffer
	if err := Read(t.Context(), path, Query{Tail: 2}, &out, nil); err != nil {
		t.Fatal(err)
	}
	if out.String() != long+"\nlast\n" {
		t.Errorf("tail of 2 gave %d bytes, want %d", out.Len(), len(long)+6)
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
		err := Read(context.Background(), path, Query{Tail: -1, Follow: true, Ended: ended}, pipe, nil)
		pipe.CloseWithError(err)
		done <- err
	}()
	var want strings.Builder
	go func() {
		for i := range 1000 {
			w.Write(Stdout, fmt.Appendf(nil, "line %d\n", i))
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

func TestFollowEndsWithContext(t *testing.T) {
	path := fill(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Read(ctx, path, Query{Tail: -1, Follow: true}, io.Discard, nil) }()
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("Read returned %v, want context.Canceled", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05.000000005Z stdout F hello\n"))
	f.Add([]byte("2026-01-02T03:04:05Z stderr P:x y z"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec, err := Parse(raw)
		if err != nil || rec.Time.Year() > 9999 || rec.Time.Year() < 0 || bytes.Contains(rec.Message, []byte("\n")) {
			return
		}
		again, err := Parse(appendRecord(nil, appendHead(nil, rec.Time, rec.Stream), rec.Partial, rec.Message))
		if err != nil || !again.Time.Equal(rec.Time) || !bytes.Equal(again.Message, rec.Message) || again.Partial != rec.Partial {
			t.Errorf("record %+v reads back as %+v, %v", rec, again, err)
		}
	})
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
		if err := w.Write(Stdout, chunk); err != nil {
			b.Fatal(err)
		}
	}
}
