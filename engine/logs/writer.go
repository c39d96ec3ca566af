// Package logs writes the logs of containers, in the form of internal/crilog, which also reads them.
//
// When a log grows over a size it is renamed to PATH.1 (the older ones to PATH.2 and so on) and a new file begins. The package knows
// nothing of containers. Start with Writer.
package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cuppa-project/cuppa/internal/crilog"
)

// Config describes a log to write.
type Config struct {
	Path    string
	MaxSize int64            // bytes after which the file is rotated; 0: never
	Keep    int              // rotated files to keep beside the current one
	Now     func() time.Time // nil: time.Now
	// Buffers holds *[]byte for many writers to share, because most are quiet; nil: each write makes its own.
	Buffers *sync.Pool
}

// Writer writes one container's log. Its methods may be called concurrently.
type Writer struct {
	cfg Config

	mu   sync.Mutex
	file *os.File
	size int64
	out  line // the unfinished line of each stream
	err  line
}

// line is an unfinished line.
type line struct{ pending []byte }

// Open opens the log at cfg.Path for appending, and makes its folder.
func Open(cfg Config) (*Writer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	w := &Writer{cfg: cfg}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o755); err != nil {
		return nil, fmt.Errorf("make log folder: %w", err)
	}
	if err := w.open(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Writer) open() error {
	file, err := os.OpenFile(w.cfg.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("open log: %w", err)
	}
	if w.file != nil {
		w.file.Close()
	}
	w.file, w.size = file, info.Size()
	return nil
}

// Write logs data that arrived on the stream s. Whole lines are written before it returns, in one system call; the rest waits for
// its newline, for a full record's worth, or for Flush.
func (w *Writer) Write(s crilog.Stream, data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var room [64]byte
	head := crilog.AppendHead(room[:0], w.cfg.Now(), s)
	l := w.line(s)
	buf, done := w.buffer()
	defer func() { done(buf) }()
	for len(data) > 0 {
		piece, newline := data, false
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			piece, newline = data[:i], true
		}
		if rest := crilog.MaxMessage - len(l.pending); len(piece) > rest {
			piece, newline = piece[:rest], false
		}
		data = data[len(piece):]
		switch full := len(l.pending)+len(piece) == crilog.MaxMessage; {
		case newline:
			data = data[1:]
			if len(l.pending) > 0 {
				piece = append(l.pending, piece...)
			}
			buf = crilog.AppendRecord(buf, head, false, piece)
			l.pending = nil
		case full && len(data) > 0:
			buf = crilog.AppendRecord(buf, head, true, append(l.pending, piece...))
			l.pending = nil
		default:
			l.pending = append(l.pending, piece...)
		}
	}
	return w.flush(buf)
}

// Flush writes the unfinished line of a stream, as at its end: as a part, so that who reads it adds no newline that was never written.
func (w *Writer) Flush(s crilog.Stream) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.line(s)
	if len(l.pending) == 0 {
		return nil
	}
	buf := crilog.AppendRecord(nil, crilog.AppendHead(nil, w.cfg.Now(), s), true, l.pending)
	l.pending = nil
	return w.flush(buf)
}

// buffer returns an empty buffer, and what to do with it in the end.
func (w *Writer) buffer() (buf []byte, done func([]byte)) {
	if w.cfg.Buffers == nil {
		return nil, func([]byte) {}
	}
	b := w.cfg.Buffers.Get().(*[]byte)
	return (*b)[:0], func(grown []byte) {
		*b = grown[:cap(grown)]
		w.cfg.Buffers.Put(b)
	}
}

func (w *Writer) line(s crilog.Stream) *line {
	if s == crilog.Stderr {
		return &w.err
	}
	return &w.out
}

// flush writes whole records and rotates afterwards, so that a file always ends with a whole record.
func (w *Writer) flush(buf []byte) error {
	if len(buf) == 0 {
		return nil
	}
	if w.file == nil {
		return os.ErrClosed
	}
	n, err := w.file.Write(buf)
	w.size += int64(n)
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	if w.cfg.MaxSize > 0 && w.size >= w.cfg.MaxSize {
		return w.rotate()
	}
	return nil
}

// rotate moves the file and its predecessors one number up and begins a new one.
func (w *Writer) rotate() error {
	if w.cfg.Keep <= 0 {
		if err := os.Remove(w.cfg.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
		return w.open()
	}
	for n := w.cfg.Keep - 1; n >= 0; n-- {
		err := os.Rename(crilog.Part(w.cfg.Path, n), crilog.Part(w.cfg.Path, n+1))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	return w.open()
}

// Reopen opens the path again, after somebody else has renamed the file.
func (w *Writer) Reopen() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open()
}

// Close ends unfinished lines and closes the file.
func (w *Writer) Close() error {
	err := errors.Join(w.Flush(crilog.Stdout), w.Flush(crilog.Stderr))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
		w.file = nil
	}
	return err
}
