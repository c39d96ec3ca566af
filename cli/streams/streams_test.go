package streams_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/cuppa-project/cuppa/cli/streams"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "Less than a second", time.Second: "1 second", 59 * time.Second: "59 seconds", 61 * time.Second: "About a minute",
		3 * time.Minute: "3 minutes", 61 * time.Minute: "About an hour", 47 * time.Hour: "47 hours", 50 * time.Hour: "2 days",
		15 * 24 * time.Hour: "2 weeks", 90 * 24 * time.Hour: "3 months", 800 * 24 * time.Hour: "2 years",
	} {
		if got := streams.Duration(d); got != want {
			t.Errorf("Duration(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 999: "999B", 5780000: "5.78MB", 18200000: "18.2MB", 2e12: "2TB", 5e15: "5e+03TB"} {
		if got := streams.Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := streams.Table(&b, [][]string{{"NAME", "PORTS"}, {"é-1", ""}, {"longer-1", "80/tcp"}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME       PORTS\né-1\nlonger-1   80/tcp\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestColor(t *testing.T) {
	var b bytes.Buffer
	s := &streams.Streams{Out: &b, Err: &b, Env: map[string]string{}}
	if s.Color() {
		t.Error("colours into a pipe")
	}
	s.Ansi = "always"
	if !s.Color() || !s.ErrColor() {
		t.Error("--ansi always gives no colours")
	}
	if s.Width() != 80 {
		t.Errorf("width of a pipe: %d", s.Width())
	}
}
