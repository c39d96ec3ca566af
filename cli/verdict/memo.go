package verdict

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"github.com/cuppa-project/cuppa/internal/carry"
)

// remembered bounds the memory: a line for each document.
const remembered = 200

// Memo remembers valid documents in a file. The file counts for one build of the program only, for another may have another schema, and only in
// a folder that nobody else can write.
type Memo struct {
	Dir   string // "": nothing is remembered
	Build string
}

// memoName is the file's name.
const memoName = "valid"

// read returns the digests of valid documents.
func (m Memo) read() (map[string]bool, error) {
	if m.Dir == "" {
		return nil, nil
	}
	dir, err := filepath.EvalSymlinks(m.Dir)
	if err != nil {
		return nil, err
	}
	if err := carry.Private(dir); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, memoName))
	if err != nil {
		return nil, err
	}
	head, body, _ := bytes.Cut(raw, []byte("\n"))
	if string(head) != m.Build {
		return nil, nil
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(body)) {
		out[strings.TrimSuffix(line, "\n")] = true
	}
	return out, nil
}

// add remembers more. Two that add at once may lose one of the additions, which costs a question.
func (m Memo) add(known map[string]bool, more []string) error {
	if m.Dir == "" || len(more) == 0 {
		return nil
	}
	dir, err := carry.MakePrivate(m.Dir)
	if err != nil {
		return err
	}
	lines := append([]string{m.Build}, more...)
	for sum := range known {
		if len(lines) <= remembered {
			lines = append(lines, sum)
		}
	}
	f, err := os.CreateTemp(dir, ".valid.*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, memoName))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is told
	}
	return err
}
