package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// maxSync is how much output of ExecSync is kept, as in other runtimes.
const maxSync = 16 << 20

// ExitError is a command that ran and did not end with 0.
type ExitError struct{ Code int }

// Error implements error in the words that kubectl shows.
func (e ExitError) Error() string { return fmt.Sprintf("command terminated with exit code %d", e.Code) }

// ExitStatus returns the exit code, as the ExitError interface of k8s.io/utils/exec has it.
func (e ExitError) ExitStatus() int { return e.Code }

// Exited tells that there is a code.
func (e ExitError) Exited() bool { return true }

// String implements that interface too.
func (e ExitError) String() string { return e.Error() }

// ExecSync implements RuntimeService. A command that does not end with 0 is an ExitError; one that is still running at the time-out is
// killed and context.DeadlineExceeded.
func (s *Service) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var out, bad limited
	code, err := s.exec(ctx, id, container.Process{Args: cmd}, container.Streams{Stdout: &out, Stderr: &bad})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("command %q timed out: %w", cmd, context.DeadlineExceeded)
	}
	if err == nil && code != 0 {
		err = ExitError{Code: code}
	}
	return out.Bytes(), bad.Bytes(), err
}

// limited keeps the first bytes written to it and drops the others.
type limited struct{ bytes.Buffer }

func (l *limited) Write(data []byte) (int, error) {
	if room := maxSync - l.Len(); room < len(data) {
		l.Buffer.Write(data[:max(room, 0)])
	} else {
		l.Buffer.Write(data)
	}
	return len(data), nil
}

// exec runs a command with the container's environment.
func (s *Service) exec(ctx context.Context, id string, p container.Process, streams container.Streams) (int, error) {
	c, err := s.findContainer(id)
	if err != nil {
		return 0, err
	}
	if p.Terminal {
		p.Env = append(append([]string{}, c.Env...), "TERM=xterm")
	}
	code, err := s.runtime.Exec(ctx, id, p, streams)
	if err != nil && ctx.Err() == nil {
		return 0, fmt.Errorf("exec in container %q: %w", s.config(c).Metadata.Name, err)
	}
	return code, err
}

// TerminalSize is the size of a terminal in characters.
type TerminalSize = struct{ Width, Height uint16 }

// ExecStream runs a command with its streams connected, and returns its exit code. The first size, if there is one already, is the
// terminal's from the beginning.
func (s *Service) ExecStream(ctx context.Context, id string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan TerminalSize) (int, error) {
	p := container.Process{Args: cmd, Terminal: tty}
	if tty && resize != nil {
		select {
		case size, ok := <-resize:
			if ok {
				p.Size = container.Size(size)
			}
		case <-time.After(firstSize):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	return s.exec(ctx, id, p, container.Streams{Stdin: stdin, Stdout: stdout, Stderr: stderr, Resize: sizes(inner, resize)})
}

// firstSize is how long a client has to tell its terminal's size before the command starts without it.
const firstSize = 50 * time.Millisecond

// sizes converts a channel of sizes.
func sizes(ctx context.Context, in <-chan TerminalSize) <-chan container.Size {
	if in == nil {
		return nil
	}
	out := make(chan container.Size)
	go func() {
		defer close(out)
		for {
			select {
			case size, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- container.Size(size):
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// AttachStream connects to the streams of a container's first process until it ends.
func (s *Service) AttachStream(ctx context.Context, id string, _ bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan TerminalSize) error {
	c, err := s.findContainer(id)
	if err != nil {
		return err
	}
	st, err := s.runtime.Status(ctx, id)
	if err != nil {
		return err
	}
	if st.State == container.Exited {
		return errkind.New(errkind.Precondition, "container %q is not running", s.config(c).Metadata.Name)
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	return s.runtime.Attach(ctx, id, container.Streams{Stdin: stdin, Stdout: stdout, Stderr: stderr, Resize: sizes(inner, resize)})
}
