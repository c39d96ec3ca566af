package e2e

import (
	"strings"
	"sync"
)

// lines is a buffer that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func newLines() *lines { return &lines{} }

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns everything so far.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
