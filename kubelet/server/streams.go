package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	"k8s.io/utils/exec"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// TerminalSize is the size of a terminal in characters.
type TerminalSize = struct{ Width, Height uint16 }

// Streamer is the part of a runtime that carries streams; see the node agent's interface of the same name.
type Streamer interface {
	ExecStream(ctx context.Context, containerID string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan TerminalSize) (int, error)
	AttachStream(ctx context.Context, containerID string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan TerminalSize) error
	PortForwardStream(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error
}

// Time-outs of streams.
const (
	streamIdle     = 4 * time.Hour
	streamCreation = 30 * time.Second
)

// session is one exec or attach, whatever protocol carries it.
type session func(ctx context.Context, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan TerminalSize) (code int, err error)

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	command := r.URL.Query()["command"]
	if len(command) == 0 {
		fail(w, errkind.New(errkind.Invalid, "exec needs a command"))
		return
	}
	s.terminal(w, r, func(id string) session {
		return func(ctx context.Context, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan TerminalSize) (int, error) {
			return s.Streamer.ExecStream(ctx, id, command, tty, stdin, stdout, stderr, resize)
		}
	})
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	s.terminal(w, r, func(id string) session {
		return func(ctx context.Context, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan TerminalSize) (int, error) {
			return 0, s.Streamer.AttachStream(ctx, id, tty, stdin, stdout, stderr, resize)
		}
	})
}

// terminal connects a client to a session over whichever protocol it speaks.
func (s *Server) terminal(w http.ResponseWriter, r *http.Request, of func(containerID string) session) {
	if s.Streamer == nil {
		fail(w, errkind.New(errkind.Unavailable, "this node's runtime has no streams"))
		return
	}
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		fail(w, errkind.New(errkind.Invalid, "%w", err))
		return
	}
	container, err := s.findRunning(r)
	if err != nil {
		fail(w, err)
		return
	}
	run := of(container.ID)
	if speaksChannels(r) {
		serveChannels(w, r, opts, run)
		return
	}
	remotecommand.ServeExec(w, r, executor{run}, "", "", container.ID, nil, opts, streamIdle, streamCreation, remotecommand.SupportedStreamingProtocols)
}

// executor fits a session to the published SPDY server. Attach goes the same way: it differs only in having no exit code.
type executor struct{ run session }

// ExecInContainer implements remotecommand.Executor.
func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, _ []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sizes := make(chan TerminalSize)
	go func() {
		defer close(sizes)
		for {
			select {
			case size, ok := <-resize:
				if !ok {
					return
				}
				select {
				case sizes <- TerminalSize(size):
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	code, err := e.run(ctx, tty, orNilReader(in), orNilWriter(out), orNilWriter(errOut), sizes)
	if err == nil && code != 0 {
		err = exec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return err
}

// orNilReader turns an interface that holds a nil stream into a nil interface.
func orNilReader(r io.Reader) io.Reader {
	if closer, ok := r.(io.ReadCloser); ok && isNil(closer) {
		return nil
	}
	return r
}

func orNilWriter(w io.WriteCloser) io.Writer {
	if w == nil || isNil(w) {
		return nil
	}
	return w
}

// run executes a command without streams and returns its output.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	container, err := s.findRunning(r)
	if err != nil {
		fail(w, err)
		return
	}
	stdout, stderr, err := s.Runtime.ExecSync(r.Context(), container.ID, r.URL.Query()["cmd"], time.Minute)
	if err != nil {
		fail(w, fmt.Errorf("run command: %w: %s", err, stderr))
		return
	}
	_, _ = w.Write(append(stdout, stderr...)) // a client that went away does not want the rest
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	if s.Streamer == nil {
		fail(w, errkind.New(errkind.Unavailable, "this node's runtime has no streams"))
		return
	}
	pod, observed, err := s.find(r)
	if err != nil {
		fail(w, err)
		return
	}
	sandbox, ok := observed.Ready()
	if !ok {
		fail(w, errkind.New(errkind.Precondition, "pod %q has no running sandbox", pod.Namespace+"/"+pod.Name))
		return
	}
	forwarder := forwarder{s.Streamer, sandbox}
	if wantsTunnel(r) {
		tunnel(w, r, func(w http.ResponseWriter, r *http.Request) {
			portforward.ServePortForward(w, r, forwarder, pod.Name, string(pod.UID), nil, streamIdle, streamCreation, portforward.SupportedProtocols)
		})
		return
	}
	var opts *portforward.V4Options
	if wsstream.IsWebSocketRequest(r) {
		if opts, err = portforward.NewV4Options(r); err != nil {
			fail(w, errkind.New(errkind.Invalid, "%w", err))
			return
		}
	}
	portforward.ServePortForward(w, r, forwarder, pod.Name, string(pod.UID), opts, streamIdle, streamCreation, portforward.SupportedProtocols)
}

type forwarder struct {
	streamer Streamer
	sandbox  observe.Sandbox
}

// PortForward implements portforward.PortForwarder.
func (f forwarder) PortForward(ctx context.Context, name, _ string, port int32, stream io.ReadWriteCloser) error {
	err := f.streamer.PortForwardStream(ctx, f.sandbox.ID, port, stream)
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("failed to connect to port %s of pod %s: %w", strconv.Itoa(int(port)), name, err)
	}
	return nil
}
