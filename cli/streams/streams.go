// Package streams is what a command reads from and writes to, and what is known of the terminals behind it.
//
// It decides nothing about what is written. Start with Streams.
package streams

import (
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// Streams are a command's three streams. Out is for data, Err for progress, warnings and errors.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	Env map[string]string
	// Ansi is the wish of --ansi: always, never, or auto.
	Ansi string
}

// OutTerminal is true if Out is a terminal.
func (s *Streams) OutTerminal() bool { return terminal(s.Out) >= 0 }

// ErrTerminal is true if Err is a terminal.
func (s *Streams) ErrTerminal() bool { return terminal(s.Err) >= 0 }

// InTerminal is the file descriptor of In if that is a terminal, else -1.
func (s *Streams) InTerminal() int { return terminal(s.In) }

// InPiped is true if In is a pipe or a file, so that there is something to read from it, and an end.
func (s *Streams) InPiped() bool {
	f, ok := s.In.(*os.File)
	if !ok || f == nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice == 0
}

func terminal(v any) int {
	f, ok := v.(*os.File)
	if !ok || f == nil || !term.IsTerminal(int(f.Fd())) {
		return -1
	}
	return int(f.Fd())
}

// Color says whether to write colours to Out.
func (s *Streams) Color() bool { return s.ansi(s.OutTerminal()) }

// ErrColor says whether to write colours to Err.
func (s *Streams) ErrColor() bool { return s.ansi(s.ErrTerminal()) }

func (s *Streams) ansi(isTerminal bool) bool {
	switch s.Ansi {
	case "always":
		return true
	case "never":
		return false
	}
	return isTerminal && s.Env["NO_COLOR"] == "" && s.Env["TERM"] != "dumb"
}

// Width is how many columns Err has; 80 if nobody knows.
func (s *Streams) Width() int {
	if fd := terminal(s.Err); fd >= 0 {
		if w, _, err := term.GetSize(fd); err == nil && w > 0 {
			return w
		}
	}
	if w, err := strconv.Atoi(s.Env["COLUMNS"]); err == nil && w > 0 {
		return w
	}
	return 80
}

// Environ turns A=B lines into a map.
func Environ(list []string) map[string]string {
	out := map[string]string{}
	for _, line := range list {
		if name, value, ok := strings.Cut(line, "="); ok {
			out[name] = value
		}
	}
	return out
}
