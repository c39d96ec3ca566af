package image

import (
	"io"
	"sync"
)

// Progress is one step of long work, in docker's words.
type Progress struct {
	ID             string // short digest of a layer, or a tag; "": the work as a whole
	Status         string // "Downloading", "Pull complete", ...
	Current, Total int64  // bytes; Total 0: the step has no length
}

// reporter passes progress on, one at a time, and thins out byte counts so that a fast disk does not drown a terminal.
type reporter struct {
	mu   sync.Mutex
	to   func(Progress)
	last map[string]Progress
}

func newReporter(to func(Progress)) *reporter {
	return &reporter{to: to, last: map[string]Progress{}}
}

// step reports p if it is a new status, the end of one, or a hundredth further.
func (r *reporter) step(p Progress) {
	if r == nil || r.to == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.last[p.ID]; ok && p.ID != "" && old.Status == p.Status {
		if p.Current <= old.Current || (p.Current != p.Total && p.Current-old.Current < max(p.Total/100, 64<<10)) {
			return
		}
	}
	r.last[p.ID] = p
	r.to(p)
}

// counted reports the bytes that pass through a reader.
type counted struct {
	io.ReadCloser
	at, total int64
	report    func(current int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.at += int64(n)
	if n > 0 {
		c.report(c.at)
	}
	return n, err
}

// Seek forwards to a reader that can resume a download.
func (c *counted) Seek(offset int64, whence int) (int64, error) {
	seeker, ok := c.ReadCloser.(io.Seeker)
	if !ok {
		return 0, io.ErrUnexpectedEOF
	}
	at, err := seeker.Seek(offset, whence)
	if err == nil {
		c.at = at
	}
	return at, err
}
