// Package verdict loads Compose files in a program that does not have the machinery of JSON schemas.
//
// Whether a document is as the Compose Specification's schema has it depends on the document alone. So the answer is asked for once, of the
// program that has the machinery, and remembered by the document's digest; a file that has not changed costs no second question. The package
// decides nothing about files itself. Start with Loader; memo.go is the memory, decide below the answering side.
package verdict

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cuppa-project/cuppa/cli/heavy"
	"github.com/cuppa-project/cuppa/compose/load"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Question is about a project's files.
type Question struct {
	// Documents are what was found in the files, merged and interpolated, and is not known to be valid.
	Documents []json.RawMessage
	// Options say where the files are, and Input is what came from the standard input, for an answer that explains.
	Options load.Options
	Input   []byte
	// Refused is true if loading failed, whatever the documents are.
	Refused bool
}

// Answer says that all documents are valid and the files can be loaded, or why not.
type Answer struct {
	Fault heavy.Fault
	Again bool // the files load now: they were changed meanwhile
}

// Loader loads files.
type Loader struct {
	Documents *Documents
	Memo      Memo
	Ask       func(ctx context.Context, q Question) (Answer, error)
}

// tries bounds how often files are loaded that somebody changes all the time.
const tries = 5

// Load reads a project's files as load.Load does, with the same errors.
func (l *Loader) Load(ctx context.Context, opts load.Options) (*load.Result, error) {
	known, err := l.Memo.read()
	if err != nil {
		known = nil // then the question is asked again
	}
	var input bytes.Buffer
	if opts.Stdin != nil {
		opts.Stdin = io.TeeReader(opts.Stdin, &input)
	}
	for range tries {
		result, unknown, err := l.try(ctx, opts, known)
		undecided := errors.Is(err, load.ErrUndecided)
		if len(unknown) == 0 && !undecided {
			return result, err
		}
		q := Question{Options: opts, Input: input.Bytes(), Refused: undecided}
		for _, doc := range unknown {
			q.Documents = append(q.Documents, doc)
		}
		answer, failed := l.Ask(ctx, q)
		if failed != nil {
			return nil, fmt.Errorf("hold the files against the Compose Specification: %w", failed)
		}
		if err := answer.Fault.Err(); err != nil {
			return nil, err
		}
		if answer.Again {
			opts.Stdin = bytes.NewReader(q.Input)
			continue
		}
		// A memory that cannot be written is no reason to fail.
		_ = l.Memo.add(known, digests(unknown))
		return result, err
	}
	return nil, errkind.New(errkind.Conflict, "the Compose files change faster than they can be read")
}

// try loads once and tells which documents it met that are not known to be valid. What becomes of a document that is not, even a panic, does not
// count: it is undecided.
func (l *Loader) try(ctx context.Context, opts load.Options, known map[string]bool) (result *load.Result, unknown [][]byte, err error) {
	l.Documents.begin(known)
	defer func() {
		unknown = l.Documents.end()
		if what := recover(); what != nil {
			if len(unknown) == 0 {
				panic(what)
			}
			err = fmt.Errorf("%w: %v", load.ErrUndecided, what)
		}
	}()
	result, err = load.Load(ctx, opts)
	return result, nil, err
}

// Documents collects what compose-go would hold against the schema. It stands where the schema's machinery stood.
type Documents struct {
	lock    sync.Mutex // one load at a time
	known   map[string]bool
	unknown [][]byte
}

func (d *Documents) begin(known map[string]bool) {
	d.lock.Lock()
	d.known, d.unknown = known, nil
}

func (d *Documents) end() [][]byte {
	defer d.lock.Unlock()
	return d.unknown
}

// See takes a document. It is called while files are loaded, by the goroutine that loads them.
func (d *Documents) See(document map[string]any) error {
	data, err := json.Marshal(document)
	if err != nil {
		return err
	}
	if !d.known[digest(data)] {
		d.unknown = append(d.unknown, data)
	}
	return nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func digests(documents [][]byte) []string {
	out := make([]string, len(documents))
	for i, data := range documents {
		out[i] = digest(data)
	}
	return out
}
