package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/supervisor/wire"
)

// pipes joins Streams to file descriptors that a process of the supervisor's reads and writes.
type pipes struct {
	theirs  []*os.File // in the order of wire.Stdio
	which   wire.Stdio
	stdin   *os.File // our ends; nil if the stream is not connected
	outputs []*output
	copying sync.WaitGroup
}

// output copies what arrives on our end of a pipe.
type output struct {
	file *os.File
	to   io.Writer
}

// newPipes makes a pipe for each stream that is there.
func newPipes(s container.Streams) (_ *pipes, err error) {
	p := &pipes{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if s.Stdin != nil {
		r, w, err := pipe()
		if err != nil {
			return nil, err
		}
		if p.stdin, err = ours(w); err != nil {
			unix.Close(r)
			return nil, err
		}
		p.theirs, p.which.Stdin = append(p.theirs, os.NewFile(uintptr(r), "stdin")), true
	}
	for _, out := range []struct {
		to   io.Writer
		flag *bool
	}{{s.Stdout, &p.which.Stdout}, {s.Stderr, &p.which.Stderr}} {
		if out.to == nil {
			continue
		}
		r, w, err := pipe()
		if err != nil {
			return nil, err
		}
		p.theirs = append(p.theirs, os.NewFile(uintptr(w), "output"))
		mine, err := ours(r)
		if err != nil {
			return nil, err
		}
		*out.flag = true
		p.outputs = append(p.outputs, &output{file: mine, to: out.to})
	}
	return p, nil
}

func pipe() (r, w int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("make pipe: %w", err)
	}
	return fds[0], fds[1], nil
}

// ours makes a file that can be interrupted by a deadline.
func ours(fd int) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set non-blocking: %w", err)
	}
	return os.NewFile(uintptr(fd), "pipe"), nil
}

func (p *pipes) fds() []int {
	var fds []int
	for _, f := range p.theirs {
		fds = append(fds, int(f.Fd()))
	}
	return fds
}

// run begins to copy, once the other ends have been sent.
func (p *pipes) run(s container.Streams) {
	wire.CloseAll(p.theirs)
	p.theirs = nil
	if p.stdin != nil {
		go feed(p.stdin, s.Stdin) // may be left in s.Stdin's Read; see container.Streams
	}
	for _, o := range p.outputs {
		p.copying.Go(o.copy)
	}
}

func feed(to *os.File, from io.Reader) {
	io.Copy(to, onlyReader{from})
	to.Close()
}

// onlyReader hides WriteTo and the file behind a reader, so that io.Copy does not splice from a descriptor that may block for ever.
type onlyReader struct{ io.Reader }

// finish ends the copying after the process has: what is in the pipes is still delivered, what processes it left behind write later is
// not.
func (p *pipes) finish() {
	for _, o := range p.outputs {
		o.file.SetReadDeadline(time.Unix(1, 0))
	}
	p.copying.Wait()
}

func (p *pipes) close() {
	wire.CloseAll(p.theirs)
	if p.stdin != nil {
		p.stdin.Close()
	}
	for _, o := range p.outputs {
		o.file.Close()
	}
	p.copying.Wait()
}

func (o *output) copy() {
	buf := make([]byte, 32<<10)
	for {
		n, err := o.file.Read(buf)
		if n > 0 {
			if _, werr := o.to.Write(buf[:n]); werr != nil {
				o.file.Close() // the process gets a broken pipe, as from a shell
				return
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			o.drain(buf)
			return
		}
		if err != nil {
			return
		}
	}
}

// drain delivers what is in the pipe without waiting for more.
func (o *output) drain(buf []byte) {
	o.file.SetReadDeadline(time.Time{})
	raw, err := o.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		n := 0
		raw.Read(func(fd uintptr) bool {
			n, err = unix.Read(int(fd), buf)
			return true
		})
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			return
		}
		if _, err := o.to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// Exec implements container.Runtime.
func (c *Client) Exec(ctx context.Context, id string, proc container.Process, s container.Streams) (int, error) {
	if proc.Terminal {
		return c.execTerminal(ctx, id, proc, s)
	}
	p, err := newPipes(s)
	if err != nil {
		return 0, err
	}
	defer p.close()
	k, err := c.begin(ctx, wire.OpExec, wire.Exec{ID: id, Process: proc, Stdio: p.which}, p.fds()...)
	if err != nil {
		return 0, err
	}
	defer k.close()
	p.run(s)
	if _, err := k.reply(ctx, nil); err != nil {
		return 0, err
	}
	var exit wire.Exit
	if _, err := k.reply(ctx, &exit); err != nil {
		return 0, err
	}
	p.finish()
	return exit.Code, nil
}

// execTerminal is Exec with a terminal, whose master the supervisor sends us.
func (c *Client) execTerminal(ctx context.Context, id string, proc container.Process, s container.Streams) (int, error) {
	k, err := c.begin(ctx, wire.OpExec, wire.Exec{ID: id, Process: proc})
	if err != nil {
		return 0, err
	}
	defer k.close()
	files, err := k.reply(ctx, nil)
	if err != nil {
		return 0, err
	}
	if len(files) != 1 {
		wire.CloseAll(files)
		return 0, fmt.Errorf("exec: supervisor sent %d terminals", len(files))
	}
	master, err := pollable(files[0])
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	p := &pipes{outputs: []*output{{file: master, to: s.Stdout}}}
	if s.Stdout == nil {
		p.outputs[0].to = io.Discard
	}
	defer p.close()
	defer close(ended)
	p.run(s)
	if s.Stdin != nil {
		go io.Copy(master, onlyReader{s.Stdin})
	}
	if s.Resize != nil {
		go resize(s.Resize, ended, func(size container.Size) error { return setSize(master, size) })
	}
	var exit wire.Exit
	if _, err := k.reply(ctx, &exit); err != nil {
		return 0, err
	}
	p.finish()
	return exit.Code, nil
}

// pollable turns a received descriptor into a file that deadlines work on.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor: %w", err)
	}
	return ours(fd)
}

func setSize(f *os.File, size container.Size) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ioctl error
	err = raw.Control(func(fd uintptr) {
		ioctl = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
	return errors.Join(err, ioctl)
}

// resize applies sizes until they or the process end.
func resize(sizes <-chan container.Size, ended <-chan struct{}, apply func(container.Size) error) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok || apply(size) != nil {
				return
			}
		case <-ended:
			return
		}
	}
}

// Attach implements container.Runtime.
func (c *Client) Attach(ctx context.Context, id string, s container.Streams) error {
	p, err := newPipes(s)
	if err != nil {
		return err
	}
	defer p.close()
	k, err := c.begin(ctx, wire.OpAttach, wire.Attach{ID: id, Stdio: p.which}, p.fds()...)
	if err != nil {
		return err
	}
	defer k.close()
	p.run(s)
	if _, err := k.reply(ctx, nil); err != nil {
		return err
	}
	if s.Attached != nil {
		s.Attached()
	}
	if s.Resize != nil {
		ended := make(chan struct{})
		defer close(ended)
		go resize(s.Resize, ended, func(size container.Size) error { return k.Send(size) })
	}
	if _, err := k.reply(ctx, nil); err != nil {
		return err
	}
	p.copying.Wait() // the supervisor has closed its ends
	return nil
}
