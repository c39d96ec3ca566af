package crilog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/internal/crilog"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

const stamp = "2026-01-01T00:00:%02d.5Z"

// logFile writes lines 1 to n over several parts of a log, the newest in path itself.
func logFile(t *testing.T, parts ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	for i, text := range parts {
		name := path
		if n := len(parts) - 1 - i; n > 0 {
			name = fmt.Sprintf("%s.%d", path, n)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// lines returns records "from" to "to".
func lines(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, stamp+" stdout F %d\n", i, i)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	path := logFile(t, lines(1, 3), lines(4, 6), lines(7, 9))
	at := func(s int) time.Time { return time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC) }
	for _, c := range []struct {
		name string
		opts crilog.Options
		want string
	}{
		{"all, over rotated parts", crilog.Options{Tail: -1}, "1 2 3 4 5 6 7 8 9"},
		{"tail within the newest part", crilog.Options{Tail: 2}, "8 9"},
		{"tail of a whole part", crilog.Options{Tail: 3}, "7 8 9"},
		{"tail over parts", crilog.Options{Tail: 5}, "5 6 7 8 9"},
		{"tail of more than there is", crilog.Options{Tail: 100}, "1 2 3 4 5 6 7 8 9"},
		{"no tail", crilog.Options{Tail: 0}, ""},
		{"since", crilog.Options{Tail: -1, Since: at(8)}, "8 9"},
		{"until", crilog.Options{Tail: -1, Until: at(3)}, "1 2"},
		{"limit", crilog.Options{Tail: -1, Limit: 3}, "1 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := crilog.Read(t.Context(), path, c.opts, &out, nil); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(strings.Fields(out.String()), " "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestPieces(t *testing.T) {
	path := logFile(t, fmt.Sprintf(stamp+" stdout P one \n"+stamp+" stdout F line\n"+stamp+" stderr F two\nnonsense\n"+stamp+" stdout F unfin", 1, 1, 2, 3))
	var out bytes.Buffer
	if err := crilog.Read(t.Context(), path, crilog.Options{Tail: -1, Timestamps: true}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if want := "2026-01-01T00:00:01.5Z one line\n2026-01-01T00:00:02.5Z two\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	out.Reset()
	if err := crilog.Read(t.Context(), path, crilog.Options{Tail: 2}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if want := "one line\ntwo\n"; out.String() != want {
		t.Errorf("the last two lines are %q, want %q", out.String(), want)
	}
}

// TestStreams holds that streams come apart, and that a piece of one does not hide the other's times.
func TestStreams(t *testing.T) {
	path := logFile(t, fmt.Sprintf(stamp+" stdout P one \n"+stamp+" stderr F two\n"+stamp+" stdout F line\n", 1, 2, 3))
	var out, bad bytes.Buffer
	if err := crilog.Read(t.Context(), path, crilog.Options{Tail: -1, Timestamps: true}, &out, &bad); err != nil {
		t.Fatal(err)
	}
	if out.String() != "2026-01-01T00:00:01.5Z one line\n" || bad.String() != "2026-01-01T00:00:02.5Z two\n" {
		t.Errorf("stdout %q, stderr %q", out.String(), bad.String())
	}
	bad.Reset()
	if err := crilog.Read(t.Context(), path, crilog.Options{Tail: -1}, nil, &bad); err != nil || bad.String() != "two\n" {
		t.Errorf("stderr alone: %q, %v", bad.String(), err)
	}
}

// TestFollowerGoes: a follower whose reader goes away ends without an error.
func TestFollowerGoes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- crilog.Read(ctx, logFile(t, lines(1, 1)), crilog.Options{Tail: -1, Follow: true}, io.Discard, nil)
	}()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBigTail(t *testing.T) {
	long := strings.Repeat("x", 50_000)
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, stamp+" stdout F %d%s\n", i, i, long)
	}
	var out bytes.Buffer
	if err := crilog.Read(t.Context(), logFile(t, b.String()), crilog.Options{Tail: 3}, &out, &out); err != nil {
		t.Fatal(err)
	}
	if want := "17" + long + "\n18" + long + "\n19" + long + "\n"; out.String() != want {
		t.Errorf("%d bytes, want %d", out.Len(), len(want))
	}
}

// TestFollow writes, rotates and ends a log under a follower; no line may be lost or come twice.
func TestFollow(t *testing.T) {
	path := logFile(t, lines(1, 2))
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	ended := make(chan struct{})
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		done <- crilog.Read(ctx, path, crilog.Options{Tail: -1, Follow: true, Ended: ended}, writer, writer)
		_ = writer.Close()
	}()
	expect := func(from, to int) {
		t.Helper()
		for i := from; i <= to; i++ {
			want := fmt.Sprintf("%d\n", i)
			got := make([]byte, len(want))
			if _, err := io.ReadFull(reader, got); err != nil || string(got) != want {
				t.Fatalf("read %q, %v; want %q", got, err, want)
			}
		}
	}
	expect(1, 2)
	next := 3
	for range 5 {
		fmt.Fprint(file, lines(next, next+2))
		expect(next, next+1)
		fmt.Fprint(file, lines(next+3, next+3))
		_ = os.Rename(path+".1", path+".2")
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
		if file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(file, lines(next+4, next+4))
		expect(next+2, next+4)
		next += 5
	}
	fmt.Fprint(file, lines(next, next))
	close(ended)
	expect(next, next)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if rest, _ := io.ReadAll(reader); len(rest) > 0 {
		t.Errorf("after the end: %q", rest)
	}
	_ = file.Close()
}

func TestNoLog(t *testing.T) {
	if err := crilog.Read(t.Context(), filepath.Join(t.TempDir(), "0.log"), crilog.Options{Tail: -1}, io.Discard, nil); !errors.Is(err, errkind.NotFound) {
		t.Errorf("a log that does not exist was read: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(lines(1, 3)), int64(2))
	f.Add([]byte("x\n\n P \n2026-01-01T00:00:00Z stdout P"), int64(1))
	f.Fuzz(func(t *testing.T, data []byte, tail int64) {
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var all, last bytes.Buffer
		if err := crilog.Read(t.Context(), path, crilog.Options{Tail: -1}, &all, &all); err != nil {
			t.Fatal(err)
		}
		if err := crilog.Read(t.Context(), path, crilog.Options{Tail: max(tail, 0)}, &last, &last); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(all.Bytes(), last.Bytes()) {
			t.Errorf("the tail %q is not the end of %q", last.Bytes(), all.Bytes())
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05.000000005Z stdout F hello\n"))
	f.Add([]byte("2026-01-02T03:04:05Z stderr P:x y z"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec, err := crilog.Parse(raw)
		if err != nil || rec.Time.Year() > 9999 || rec.Time.Year() < 0 || bytes.Contains(rec.Message, []byte("\n")) {
			return
		}
		again, err := crilog.Parse(crilog.AppendRecord(nil, crilog.AppendHead(nil, rec.Time, rec.Stream), rec.Partial, rec.Message))
		if err != nil || !again.Time.Equal(rec.Time) || !bytes.Equal(again.Message, rec.Message) || again.Partial != rec.Partial {
			t.Errorf("record %+v reads back as %+v, %v", rec, again, err)
		}
	})
}
