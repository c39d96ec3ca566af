//go:build cgo

package server

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/logs"
	"github.com/cuppa-project/cuppa/internal/crilog"
)

// stuckClient is how long an attached client that does not read may hold up a container's output before it is dropped.
const stuckClient = time.Minute

// stdio is a container's standard streams: named pipes or a terminal on one side, the log file and attached clients on the other.
//
// The pipes have names, and the container has its ends open for reading too, so that it neither gets a broken pipe nor loses a byte
// when the supervisor is replaced: the next one opens the names again.
type stdio struct {
	spec    container.Spec
	dir     string
	buffers *sync.Pool
	slog    *slog.Logger
	pumps   sync.WaitGroup
	opened  chan struct{} // closed when the container's input can be written

	mu     sync.Mutex
	log    *logs.Writer
	failed bool // the log could not be written, and that has been said
	stdin  *os.File
	master *os.File
	sinks  map[*sink]bool
	ended  bool
}

// sink is an attached client.
type sink struct {
	stdout, stderr *os.File
	done           chan struct{} // closed when nothing more will come
}

func newStdio(spec container.Spec, dir string, buffers *sync.Pool, log *slog.Logger) *stdio {
	return &stdio{spec: spec, dir: dir, buffers: buffers, slog: log, sinks: map[*sink]bool{}, opened: make(chan struct{})}
}

func (o *stdio) openLog() error {
	if o.spec.LogPath == "" {
		return nil
	}
	w, err := logs.Open(logs.Config{Path: o.spec.LogPath, MaxSize: o.spec.LogSize, Keep: o.spec.LogKeep, Buffers: o.buffers})
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.log = w
	o.mu.Unlock()
	return nil
}

func (o *stdio) reopenLog() error {
	o.mu.Lock()
	w := o.log
	o.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.Reopen()
}

// ends are the container's sides of its streams.
type ends struct{ stdin, stdout, stderr *os.File }

func (e ends) close() {
	for _, f := range []*os.File{e.stdin, e.stdout, e.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// open makes the pipes, begins to read them, and returns the container's ends.
func (o *stdio) open() (_ ends, err error) {
	var e ends
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if err := os.MkdirAll(o.dir, 0o711); err != nil {
		return e, fmt.Errorf("make pipe folder: %w", err)
	}
	names := []string{"stdout", "stderr"}
	if o.spec.OpenStdin {
		names = append(names, "stdin")
	}
	for _, name := range names {
		if err := unix.Mkfifo(filepath.Join(o.dir, name), 0o600); err != nil && err != unix.EEXIST {
			return e, fmt.Errorf("make pipe: %w", err)
		}
	}
	if e.stdout, err = o.containerEnd("stdout", unix.O_RDWR); err != nil {
		return e, err
	}
	if e.stderr, err = o.containerEnd("stderr", unix.O_RDWR); err != nil {
		return e, err
	}
	if o.spec.OpenStdin {
		if e.stdin, err = o.containerEnd("stdin", unix.O_RDONLY|unix.O_NONBLOCK); err != nil {
			return e, err
		}
		unix.SetNonblock(int(e.stdin.Fd()), false)
	}
	return e, o.join()
}

// containerEnd opens a pipe without the runtime's poller, as a plain descriptor to inherit.
func (o *stdio) containerEnd(name string, flags int) (*os.File, error) {
	path := filepath.Join(o.dir, name)
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// join opens our ends of the pipes and begins to read.
func (o *stdio) join() error {
	var outs [2]*os.File
	for i, name := range []string{"stdout", "stderr"} {
		f, err := os.OpenFile(filepath.Join(o.dir, name), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			if i == 1 {
				outs[0].Close()
			}
			return fmt.Errorf("open pipe: %w", err)
		}
		outs[i] = f
	}
	if o.spec.OpenStdin {
		f, err := os.OpenFile(filepath.Join(o.dir, "stdin"), os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			outs[0].Close()
			outs[1].Close()
			return fmt.Errorf("open pipe: %w", err)
		}
		o.mu.Lock()
		o.stdin = f
		o.mu.Unlock()
	}
	close(o.opened)
	o.pumps.Go(func() { o.pump(outs[0], crilog.Stdout) })
	o.pumps.Go(func() { o.pump(outs[1], crilog.Stderr) })
	return nil
}

// terminal takes a container's terminal and begins to read it.
func (o *stdio) terminal(master *os.File) {
	o.mu.Lock()
	o.master = master
	if o.spec.OpenStdin {
		o.stdin = master
	}
	o.mu.Unlock()
	close(o.opened)
	o.pumps.Go(func() { o.pump(master, crilog.Stdout) })
}

// pump delivers what comes out of a stream until its end. It holds a buffer only while there is something to read.
func (o *stdio) pump(f *os.File, stream crilog.Stream) {
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	for {
		var (
			buf  *[]byte
			n    int
			rerr error
		)
		err := raw.Read(func(fd uintptr) bool {
			if buf == nil {
				buf = o.buffers.Get().(*[]byte)
			}
			for {
				n, rerr = unix.Read(int(fd), *buf)
				if rerr != unix.EINTR {
					break
				}
			}
			if rerr == unix.EAGAIN {
				o.buffers.Put(buf)
				buf = nil
				return false
			}
			return true
		})
		if err == nil && n > 0 {
			o.deliver(stream, (*buf)[:n])
		}
		if buf != nil {
			o.buffers.Put(buf)
		}
		if err != nil || rerr != nil || n <= 0 {
			return // a terminal without processes fails with EIO
		}
	}
}

func (o *stdio) deliver(stream crilog.Stream, data []byte) {
	o.mu.Lock()
	log := o.log
	var sinks []*sink
	for s := range o.sinks {
		sinks = append(sinks, s)
	}
	o.mu.Unlock()
	if log != nil {
		if err := log.Write(stream, data); err != nil && !o.failed {
			o.failed = true
			o.slog.Warn("container log not written", "container", o.spec.ID, "err", err)
		}
	}
	for _, s := range sinks {
		to := s.stdout
		if stream == crilog.Stderr {
			to = s.stderr
		}
		if to == nil {
			continue
		}
		to.SetWriteDeadline(time.Now().Add(stuckClient))
		if _, err := to.Write(data); err != nil {
			o.detach(s)
		}
	}
}

// finish waits until everything the container has written is delivered, then closes the log and tells attached clients.
func (o *stdio) finish() {
	o.mu.Lock()
	if o.ended {
		o.mu.Unlock()
		return
	}
	o.ended = true
	if o.stdin != nil && o.stdin != o.master {
		o.stdin.Close()
	}
	o.stdin = nil
	o.mu.Unlock()
	o.pumps.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.log != nil {
		if err := o.log.Close(); err != nil && !o.failed {
			o.slog.Warn("container log not written", "container", o.spec.ID, "err", err)
		}
		o.log = nil
	}
	for s := range o.sinks {
		s.close()
	}
	o.sinks = map[*sink]bool{}
}

func (s *sink) close() {
	for _, f := range []*os.File{s.stdout, s.stderr} {
		if f != nil {
			f.Close()
		}
	}
	close(s.done)
}

// attach adds a client, whose files become ours. After the container's end it is told so at once.
func (o *stdio) attach(s *sink) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		s.close()
		return
	}
	o.sinks[s] = true
}

func (o *stdio) detach(s *sink) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sinks[s] {
		delete(o.sinks, s)
		s.close()
	}
}

// feed copies a client's input to the container until either ends.
func (o *stdio) feed(from *os.File) {
	o.mu.Lock()
	to := o.stdin
	o.mu.Unlock()
	if to == nil {
		return
	}
	_, err := io.Copy(to, onlyReader{from})
	if err == nil && o.spec.StdinOnce && !o.spec.Terminal {
		o.mu.Lock()
		if o.stdin == to {
			o.stdin.Close()
			o.stdin = nil
		}
		o.mu.Unlock()
	}
}

// onlyReader keeps io.Copy from splicing, which would block a thread.
type onlyReader struct{ io.Reader }

func (o *stdio) resize(size container.Size) error {
	o.mu.Lock()
	master := o.master
	o.mu.Unlock()
	if master == nil {
		return nil
	}
	raw, err := master.SyscallConn()
	if err != nil {
		return err
	}
	var ioctl error
	err = raw.Control(func(fd uintptr) {
		ioctl = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
	return errors.Join(err, ioctl)
}
