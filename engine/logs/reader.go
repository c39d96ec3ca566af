package logs

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
)

// Query says what to read of a log. The zero value but for Tail reads nothing, so set Tail to -1 for all of it.
type Query struct {
	Tail       int64     // whole lines from the end; negative: all
	Since      time.Time // zero: from the beginning
	Until      time.Time // zero: to the end
	Timestamps bool      // put each line's time before it
	Limit      int64     // bytes after which to stop; 0: no limit
	Follow     bool      // go on with what is written later
	// Ended is closed when the container has exited: a follower then reads what is left and returns. Nil: follow until ctx ends.
	Ended <-chan struct{}
}

var errLimit = errors.New("limit reached")

// Read copies the messages of the log at path, the rotated files included, to the writers; a nil writer drops its stream. It blocks
// until the log's end, or with Follow until ctx ends or the container has.
func Read(ctx context.Context, path string, q Query, stdout, stderr io.Writer) error {
	out := &printer{query: q, stdout: stdout, stderr: stderr, left: q.Limit}
	files, err := openAll(path)
	if err != nil {
		return err
	}
	defer func() { closeAll(files) }()
	var notify *watcher
	if q.Follow {
		if notify, err = watch(path); err != nil {
			return err
		}
		defer notify.Close()
	}
	if q.Tail >= 0 {
		if files, err = seekTail(files, q.Tail); err != nil {
			return err
		}
	}
	for len(files) > 0 {
		if err := out.copy(ctx, files[0]); err != nil {
			return ignoreLimit(err)
		}
		if len(files) == 1 {
			break
		}
		files[0].Close()
		files = files[1:]
	}
	if !q.Follow {
		return nil
	}
	var last *os.File
	if len(files) > 0 {
		last = files[0]
		files = nil
	}
	return ignoreLimit(follow(ctx, path, last, q, out, notify))
}

func ignoreLimit(err error) error {
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}

// follow copies what is appended to last and to the files that come after it. It owns last.
func follow(ctx context.Context, path string, last *os.File, q Query, out *printer, notify *watcher) error {
	defer func() {
		if last != nil {
			last.Close()
		}
	}()
	for {
		ended := closed(q.Ended) // asked before reading, so that nothing written before the end is missed
		for {
			if last != nil {
				if err := out.copy(ctx, last); err != nil {
					return err
				}
			}
			next, err := successor(path, last)
			if err != nil {
				return err
			}
			if next == nil {
				break
			}
			if last != nil {
				// One more look: the writer may have added to the old file between our reading and its rotation.
				if err := out.copy(ctx, last); err != nil {
					next.Close()
					return err
				}
				last.Close()
			}
			last = next
		}
		if ended {
			return nil
		}
		if err := notify.Wait(ctx, q.Ended); err != nil {
			return err
		}
	}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// openAll opens the files of a log, the oldest first. It is an error if there is none.
//
// A rotation under way renames one file after the other. So it looks again afterwards, and starts over if a name has come to mean
// another file meanwhile.
func openAll(path string) ([]*os.File, error) {
	const patience = 100 // a writer that rotates without a pause must not hold us for ever
	for try := 0; ; try++ {
		files, err := openOnce(path)
		if err != nil {
			return nil, err
		}
		if try == patience || unchanged(path, files) {
			if len(files) == 0 {
				return nil, fmt.Errorf("open log %s: %w", path, fs.ErrNotExist)
			}
			slices.Reverse(files)
			return files, nil
		}
		closeAll(files)
	}
}

// openOnce opens what there is, the newest first, with a gap where a rotation has just renamed a file.
func openOnce(path string) ([]*os.File, error) {
	var files []*os.File
	for n := range lastNumber(path) + 1 {
		f, err := os.Open(rotated(path, n))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("open log: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// lastNumber is the highest number of a rotated file of the log.
func lastNumber(path string) int {
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
	if len(files) != lastNumber(path)+1 {
		return len(files) == 0 && !exists(path)
	}
	for n, f := range files {
		mine, err := f.Stat()
		if err != nil {
			return false
		}
		now, err := os.Stat(rotated(path, n))
		if err != nil || !os.SameFile(mine, now) {
			return false
		}
	}
	return true
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// successor opens the file that was begun after last, or returns nil if last is still the newest.
func successor(path string, last *os.File) (*os.File, error) {
	files, err := openAll(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	next := 0 // if last is gone altogether, the oldest that is left follows
	if last != nil {
		mine, err := last.Stat()
		if err != nil {
			return nil, fmt.Errorf("follow log: %w", err)
		}
		for i, f := range files {
			if info, err := f.Stat(); err == nil && os.SameFile(mine, info) {
				next = i + 1
			}
		}
	}
	var found *os.File
	for i, f := range files {
		if i == next {
			found = f
		} else {
			f.Close()
		}
	}
	return found, nil
}

// printer turns records into output.
type printer struct {
	query          Query
	stdout, stderr io.Writer
	left           int64
	midline        [2]bool // whether the stream's last record was a piece of a line
}

// copy prints every whole record from the file's position on, and leaves the position after the last of them.
func (p *printer) copy(ctx context.Context, f *os.File) error {
	pos, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	r := bufio.NewReaderSize(f, 64<<10)
	for ctx.Err() == nil {
		raw, err := r.ReadBytes('\n')
		if err == io.EOF {
			_, err = f.Seek(pos, io.SeekStart) // an unfinished record is read again when it is whole
			return err
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		pos += int64(len(raw))
		rec, err := Parse(raw)
		if err != nil {
			continue // a line torn by a full disk hides no others
		}
		if err := p.print(rec); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (p *printer) print(rec Record) error {
	if !p.query.Since.IsZero() && rec.Time.Before(p.query.Since) || !p.query.Until.IsZero() && rec.Time.After(p.query.Until) {
		return nil
	}
	w, i := p.stdout, 0
	if rec.Stream == Stderr {
		w, i = p.stderr, 1
	}
	if w == nil {
		return nil
	}
	text := make([]byte, 0, len(rec.Message)+40)
	if p.query.Timestamps && !p.midline[i] {
		text = rec.Time.AppendFormat(text, time.RFC3339Nano)
		text = append(text, ' ')
	}
	text = append(text, rec.Message...)
	if p.midline[i] = rec.Partial; !rec.Partial {
		text = append(text, '\n')
	}
	if p.query.Limit > 0 && int64(len(text)) > p.left {
		text = text[:p.left]
	}
	p.left -= int64(len(text))
	if _, err := w.Write(text); err != nil {
		return err
	}
	if p.query.Limit > 0 && p.left <= 0 {
		return errLimit
	}
	return nil
}

// seekTail drops the files before the last n lines and positions the first of the others at them.
func seekTail(files []*os.File, n int64) ([]*os.File, error) {
	for i := len(files) - 1; i >= 0; i-- {
		offset, found, err := tailOffset(files[i], n)
		if err != nil {
			return nil, err
		}
		if _, err := files[i].Seek(offset, io.SeekStart); err != nil {
			return nil, fmt.Errorf("seek log: %w", err)
		}
		if n -= found; n <= 0 || i == 0 {
			for _, f := range files[:i] {
				f.Close()
			}
			return files[i:], nil
		}
	}
	return files, nil
}

// tailOffset finds where the last n lines of a file begin, and how many lines from there on it has.
func tailOffset(f *os.File, n int64) (offset, found int64, err error) {
	const block = 64 << 10
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, fmt.Errorf("seek log: %w", err)
	}
	var tail []byte // the part of the file from pos on that is not yet counted
	pos, lineEnd := end, end
	for pos > 0 {
		size := min(block, pos)
		chunk := make([]byte, size, size+int64(len(tail)))
		pos -= size
		if _, err := f.ReadAt(chunk, pos); err != nil {
			return 0, 0, fmt.Errorf("read log: %w", err)
		}
		tail = append(chunk, tail...)
		for {
			body := bytes.TrimSuffix(tail, []byte("\n"))
			i := bytes.LastIndexByte(body, '\n')
			if i < 0 && pos > 0 {
				break
			}
			if isFull(tail[i+1:]) {
				if found == n {
					return lineEnd, found, nil
				}
				found++
			}
			tail = tail[:i+1]
			lineEnd = pos + int64(len(tail))
			if len(tail) == 0 {
				break
			}
		}
	}
	return 0, found, nil
}

// isFull tells whether a raw record ends a line.
func isFull(raw []byte) bool {
	rec, err := Parse(raw)
	return err == nil && !rec.Partial && bytes.HasSuffix(raw, []byte("\n"))
}
