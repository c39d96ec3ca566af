package kubelettest

import (
	"context"
	"fmt"
	"io"

	"github.com/cuppa-project/cuppa/internal/errkind"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ExecStream runs the container's scripted command: what it reads comes back on stdout after its output, and every size of
// the terminal is written as a line.
func (r *Runtime) ExecStream(ctx context.Context, id string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan struct{ Width, Height uint16 }) (int, error) {
	r.mu.Lock()
	c, ok := r.containers[id]
	running := ok && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING
	r.mu.Unlock()
	if !running {
		return 0, errkind.New(errkind.Precondition, "container %s is not running", id)
	}
	if tty {
		select {
		case size := <-resize:
			fmt.Fprintf(stdout, "size %dx%d\n", size.Width, size.Height)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	output, code := "", 0
	if c.program.Exec != nil {
		output, code = c.program.Exec(cmd)
	}
	if output != "" {
		fmt.Fprintln(stdout, output)
	}
	if stderr != nil && code != 0 {
		fmt.Fprintf(stderr, "failed with %d\n", code)
	}
	if stdin != nil {
		if _, err := io.Copy(stdout, stdin); err != nil {
			return 0, err
		}
	}
	return code, nil
}

// AttachStream echoes.
func (r *Runtime) AttachStream(ctx context.Context, id string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan struct{ Width, Height uint16 }) error {
	_, err := r.ExecStream(ctx, id, nil, tty, stdin, stdout, stderr, resize)
	return err
}

// PortForwardStream echoes on port 80; nothing listens on others.
func (r *Runtime) PortForwardStream(_ context.Context, _ string, port int32, stream io.ReadWriteCloser) error {
	if port != 80 {
		return errkind.New(errkind.Unavailable, "connection refused")
	}
	defer stream.Close()
	_, err := io.Copy(stream, stream)
	return err
}
