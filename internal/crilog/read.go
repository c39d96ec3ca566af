package crilog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Options says which part of a log to read, and how.
type Options struct {
	Tail       int64     // the last lines; negative: all
	Since      time.Time // zero: from the beginning
	Until      time.Time // zero: to the end
	Timestamps bool      // put each line's time before it
	Limit      int64     // bytes after which to stop; 0: no limit
	Follow     bool      // go on with what is written later
	// Ended is closed when the container has exited; a follower reads what is left then, and ends. Nil: it follows until ctx ends.
	Ended <-chan struct{}
}

// Read copies the messages of a log, its rotated parts included, to the writers, which may be the same one; nil drops a stream. A
// follower gets each line as soon as it is written, and ends when the container or ctx does, which is no error. NotFound if there is
// no log.
func Read(ctx context.Context, path string, opts Options, stdout, stderr io.Writer) error {
	r := &reader{path: path, opts: opts, out: map[Stream]io.Writer{Stdout: stdout, Stderr: stderr}, left: opts.Limit, inner: map[Stream]bool{}}
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
	out   map[Stream]io.Writer
	left  int64
	watch *watch
	file  *os.File        // the part that is read at present
	inner map[Stream]bool // within a line that came in pieces
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

func (r *reader) print(raw []byte) error {
	rec, err := Parse(raw)
	if err != nil {
		return nil // a line torn by a full disk hides no others
	}
	if rec.Time.Before(r.opts.Since) || !r.opts.Until.IsZero() && rec.Time.After(r.opts.Until) || r.out[rec.Stream] == nil {
		return nil
	}
	text := make([]byte, 0, len(raw))
	if r.opts.Timestamps && !r.inner[rec.Stream] {
		text = append(append(text, rec.Stamp...), ' ')
	}
	text = append(text, rec.Message...)
	if r.inner[rec.Stream] = rec.Partial; !rec.Partial {
		text = append(text, '\n')
	}
	if r.opts.Limit > 0 && int64(len(text)) >= r.left {
		_, err := r.out[rec.Stream].Write(text[:r.left])
		return errors.Join(err, errLimit)
	}
	r.left -= int64(len(text))
	_, err = r.out[rec.Stream].Write(text)
	return err
}
