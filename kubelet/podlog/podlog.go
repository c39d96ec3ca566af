// Package podlog reads the log files that container runtimes write.
//
// It writes no logs and rotates none. A log is a file of lines "TIME STREAM TAG TEXT"; older parts are beside it as FILE.1, FILE.2
// and so on, the higher the older. Start with Read.
package podlog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Options says which part of a log to read, and how.
type Options struct {
	Tail       int64     // the last lines; negative: all
	Since      time.Time // zero: from the beginning
	Timestamps bool
	Limit      int64  // bytes; 0: no limit
	Stream     string // "stdout" or "stderr"; empty: both
	Follow     bool
	// Ended is closed when the container has exited; a follower reads what is left then, and ends.
	Ended <-chan struct{}
}

// Read copies a log to out. A follower gets each line as soon as it is written, and ends when the container or ctx does.
func Read(ctx context.Context, path string, opts Options, out io.Writer) error {
	r := &reader{path: path, opts: opts, out: out, left: opts.Limit}
	if opts.Follow {
		watch, err := newWatch(path)
		if err != nil {
			return err
		}
		defer watch.Close()
		r.watch = watch
	}
	if err := r.open(); err != nil {
		return err
	}
	defer func() { _ = r.file.Close() }()
	err := r.run(ctx)
	if errors.Is(err, errLimit) || err != nil && ctx.Err() != nil {
		return nil // the reader has all it asked for, or went away
	}
	return err
}

var errLimit = errors.New("the limit is reached")

type reader struct {
	path  string
	opts  Options
	out   io.Writer
	left  int64
	watch *watch
	file  *os.File // the part that is read at present
	inner bool     // within a line that came in pieces
}

// open finds where to begin: the oldest part, or the one that holds the first of the last lines.
func (r *reader) open() error {
	parts, err := parts(r.path)
	if err != nil {
		return err
	}
	wanted := r.opts.Tail
	for i := len(parts) - 1; i >= 0 && r.opts.Tail >= 0; i-- {
		offset, found, err := tailOffset(parts[i], wanted)
		if err != nil {
			closeAll(parts)
			return err
		}
		if found < wanted && i > 0 {
			wanted -= found
			continue
		}
		_, err = parts[i].Seek(offset, io.SeekStart)
		r.file = parts[i]
		closeAll(parts[:i])
		closeAll(parts[i+1:])
		return err
	}
	r.file = parts[0]
	closeAll(parts[1:])
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// parts opens every part of a log, the oldest first.
func parts(path string) ([]*os.File, error) {
	// A rotation under way renames one part after the other. So we look again afterwards, and start over if a name has come to mean
	// another part meanwhile; but a writer that rotates without a pause must not hold us for ever.
	for try := 0; ; try++ {
		out, err := openParts(path)
		if err != nil {
			return nil, err
		}
		if try < 100 && !unchanged(path, out) {
			closeAll(out)
			continue
		}
		if len(out) == 0 {
			return nil, errkind.New(errkind.NotFound, "there is no log yet")
		}
		slices.Reverse(out)
		return out, nil
	}
}

// openParts opens what there is, the newest first.
func openParts(path string) ([]*os.File, error) {
	var out []*os.File
	for n := range lastPart(path) + 1 {
		file, err := os.Open(part(path, n))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeAll(out)
			return nil, fmt.Errorf("open log: %w", err)
		}
		out = append(out, file)
	}
	return out, nil
}

// lastPart is the number of the oldest part.
func lastPart(path string) int {
	last := 0
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+"."); ok {
			if n, err := strconv.Atoi(number); err == nil {
				last = max(last, n)
			}
		}
	}
	return last
}

// unchanged tells whether the names, without a gap, still mean the files.
func unchanged(path string, files []*os.File) bool {
	if len(files) == 0 {
		_, err := os.Stat(path)
		return err != nil
	}
	if len(files) != lastPart(path)+1 {
		return false
	}
	for n, f := range files {
		mine, err := f.Stat()
		if err != nil {
			return false
		}
		now, err := os.Stat(part(path, n))
		if err != nil || !os.SameFile(mine, now) {
			return false
		}
	}
	return true
}

func part(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

func (r *reader) run(ctx context.Context) error {
	for {
		ended := r.hasEnded() // asked before reading, so that nothing written before the end is missed
		if err := r.drain(ctx); err != nil {
			return err
		}
		next, err := r.successor()
		if err != nil {
			return err
		}
		switch {
		case next != nil:
			// Once more: the writer may have added to the old part between reading it and its rotation.
			if err := r.drain(ctx); err != nil {
				_ = next.Close()
				return err
			}
			_ = r.file.Close()
			r.file = next
		case !r.opts.Follow || ended:
			return nil
		default:
			if err := r.watch.wait(ctx, r.opts.Ended); err != nil {
				return err
			}
		}
	}
}

func (r *reader) hasEnded() bool {
	select {
	case <-r.opts.Ended:
		return true
	default:
		return false
	}
}

// successor opens the part that was begun after the present one, or returns nil if that is the newest.
func (r *reader) successor() (*os.File, error) {
	files, err := parts(r.path)
	if errors.Is(err, errkind.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mine, err := r.file.Stat()
	if err != nil {
		closeAll(files)
		return nil, err
	}
	next := 0 // if the present one is gone already, the oldest that is left follows
	for i, file := range files {
		if info, err := file.Stat(); err == nil && os.SameFile(info, mine) {
			next = i + 1
		}
	}
	var found *os.File
	for i, file := range files {
		if i == next {
			found = file
			continue
		}
		_ = file.Close()
	}
	return found, nil
}

// drain copies every whole line from the present position on, and leaves the position after the last of them.
func (r *reader) drain(ctx context.Context) error {
	position, err := r.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	lines := bufio.NewReaderSize(r.file, 32<<10)
	for ctx.Err() == nil {
		raw, err := lines.ReadBytes('\n')
		if err == io.EOF {
			_, err = r.file.Seek(position, io.SeekStart) // what is not whole yet is read again
			return err
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		position += int64(len(raw))
		if err := r.print(raw); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// line is one line of a log file.
type line struct {
	time    time.Time
	stamp   []byte
	stream  string
	partial bool
	text    []byte // with its newline, unless it is partial
}

func parse(raw []byte) (line, bool) {
	fields := bytes.SplitN(bytes.TrimSuffix(raw, []byte("\n")), []byte(" "), 4)
	if len(fields) < 3 {
		return line{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(fields[0]))
	if err != nil {
		return line{}, false
	}
	out := line{time: at, stamp: fields[0], stream: string(fields[1])}
	tag, _, _ := bytes.Cut(fields[2], []byte(":"))
	out.partial = string(tag) == "P"
	if len(fields) == 4 {
		out.text = fields[3]
	}
	if !out.partial {
		out.text = append(out.text[:len(out.text):len(out.text)], '\n')
	}
	return out, true
}

func (r *reader) print(raw []byte) error {
	l, ok := parse(raw)
	if !ok || l.time.Before(r.opts.Since) || r.opts.Stream != "" && l.stream != r.opts.Stream {
		return nil
	}
	text := l.text
	if r.opts.Timestamps && !r.inner {
		text = append(append(append(make([]byte, 0, len(l.stamp)+1+len(text)), l.stamp...), ' '), text...)
	}
	r.inner = l.partial
	if r.opts.Limit > 0 && int64(len(text)) >= r.left {
		_, err := r.out.Write(text[:r.left])
		return errors.Join(err, errLimit)
	}
	r.left -= int64(len(text))
	_, err := r.out.Write(text)
	return err
}

// blockSize is how much of a file is looked at at once from its end.
const blockSize = 32 << 10

// tailOffset finds where the last wanted lines of a file begin, and how many there are.
func tailOffset(file *os.File, wanted int64) (offset, found int64, err error) {
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	rest := []byte{} // from position up to the last line start that was counted
	start := end     // where the last counted line starts
	for position := end; ; {
		for {
			i := bytes.LastIndexByte(bytes.TrimSuffix(rest, []byte("\n")), '\n')
			if i < 0 && position > 0 || len(rest) == 0 {
				break
			}
			if l, ok := parse(rest[i+1:]); ok && !l.partial && rest[len(rest)-1] == '\n' {
				if found == wanted {
					return start, found, nil
				}
				found++
			}
			rest = rest[:i+1]
			start = position + int64(len(rest))
		}
		if position == 0 {
			return 0, found, nil
		}
		size := min(blockSize, position)
		position -= size
		block := make([]byte, size, size+int64(len(rest)))
		if _, err := file.ReadAt(block, position); err != nil {
			return 0, 0, err
		}
		rest = append(block, rest...)
	}
}
