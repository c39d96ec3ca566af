// Package heavy is how the front program, which starts quickly, uses the heavy one, which it carries.
//
// It becomes it (a server, kubectl), or asks it one question as a child: what is asked goes to the child's descriptor 3 and the answer comes from
// its 4, both in JSON, so that the standard streams and the terminal are the child's as they are ours. The words with which the heavy program is
// started are the table below; nothing else starts it. Start with Program.
package heavy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// The words that the heavy program takes as its first argument. A user types the first two.
const (
	Server  = "server"  // control plane and node, and cleaning up after them
	Kubectl = "kubectl" // the real one
	Build   = "ask-build"
	Verdict = "ask-verdict"
)

// Use says what a verb needs of the heavy program.
type Use int

// The uses.
const (
	Never     Use = iota
	Seldom        // when it has to look into a Compose file after all, and that is new or wrong
	Sometimes     // when something is to be built, or a Compose file is new or wrong
	Always        // the verb is in it
)

// Program is the heavy program, as the front program can have it.
type Program interface {
	// Exec becomes it. It returns only when that fails.
	Exec(argv, env []string) error
	// Start starts it as a child.
	Start(ctx context.Context, argv []string, prepare func(*exec.Cmd)) (*exec.Cmd, error)
}

// Streams are what a child gets as its own. Files are passed on as they are.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Env      []string
}

// patience is how long a child may take to end that was asked to.
const patience = 10 * time.Second

// Ask asks one question. The answer to a context that ends is its end.
func Ask[Q, A any](ctx context.Context, p Program, word string, question Q, streams Streams) (answer A, err error) {
	data, err := json.Marshal(question)
	if err != nil {
		return answer, err
	}
	asked, ask, err := os.Pipe()
	if err != nil {
		return answer, err
	}
	defer ask.Close()
	hear, told, err := os.Pipe()
	if err != nil {
		asked.Close()
		return answer, err
	}
	defer hear.Close()
	child, err := p.Start(ctx, []string{"cuppa", word}, func(c *exec.Cmd) {
		c.Stdin, c.Stdout, c.Stderr, c.Env = streams.In, streams.Out, streams.Err, streams.Env
		c.ExtraFiles = []*os.File{asked, told}
		c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
		c.WaitDelay = patience
	})
	asked.Close()
	told.Close()
	if err != nil {
		return answer, err
	}
	go func() {
		_, _ = ask.Write(data) // a child that does not listen tells why by its end
		ask.Close()
	}()
	failed := json.NewDecoder(hear).Decode(&answer)
	ended := child.Wait()
	switch {
	case ctx.Err() != nil:
		return answer, context.Cause(ctx)
	case failed != nil:
		return answer, errkind.New(errkind.Internal, "%s gave no answer (%w)", word, errors.Join(failed, ended))
	}
	return answer, nil
}

// Answer is the other side of Ask: it reads the question, and writes what answer makes of it.
func Answer[Q, A any](ctx context.Context, answer func(context.Context, Q) A) error {
	from, to := os.NewFile(3, "question"), os.NewFile(4, "answer")
	if from == nil || to == nil {
		return errkind.New(errkind.Invalid, "there is no question: this word is for cuppa itself")
	}
	defer from.Close()
	defer to.Close()
	var question Q
	if err := json.NewDecoder(from).Decode(&question); err != nil {
		return fmt.Errorf("read the question: %w", err)
	}
	return json.NewEncoder(to).Encode(answer(ctx, question))
}

// Fault is an error in an answer. The zero value is none.
type Fault struct {
	Kind, Text string
	Canceled   bool
}

// FaultOf takes an error apart.
func FaultOf(err error) Fault {
	switch {
	case err == nil:
		return Fault{}
	case errors.Is(err, context.Canceled):
		return Fault{Canceled: true}
	}
	f := Fault{Text: err.Error()}
	if kind := errkind.Of(err); kind != nil {
		f.Kind = kind.Error()
	}
	return f
}

// Err puts an error together again.
func (f Fault) Err() error {
	switch kind := errkind.Named(f.Kind); {
	case f.Canceled:
		return context.Canceled
	case f.Text == "":
		return nil
	case kind != nil:
		return errkind.New(kind, "%s", f.Text)
	}
	return errors.New(f.Text)
}
