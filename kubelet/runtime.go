package kubelet

import (
	"context"
	"io"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
)

// TerminalSize is the size of a terminal in characters. It is an alias of an unnamed type so that a runtime can implement
// Streamer without importing this package.
type TerminalSize = struct{ Width, Height uint16 }

// Streamer carries the long-lived byte streams that CRI leaves to a URL of the runtime's own: a runtime in the same process
// serves them as plain calls. Every call blocks until its stream has ended or ctx ends; the caller closes what it passed in.
type Streamer interface {
	// ExecStream runs cmd in a running container and returns its exit code. Nil streams are not connected. With tty, stderr is
	// nil and resize delivers the terminal's sizes (the first one, if any, before the command starts); a closed resize channel
	// means no more changes. When ctx ends, the command is killed. The error is errkind.NotFound if there is no such container
	// and errkind.Precondition if it is not running; a command that cannot be started is an error too, not an exit code.
	ExecStream(ctx context.Context, containerID string, cmd []string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan TerminalSize) (exitCode int, err error)
	// AttachStream connects to the standard streams of a running container's first process, until the container exits or ctx
	// ends. Several may be attached at once. When stdin ends the container's stdin is closed only if it was created with
	// stdin_once.
	AttachStream(ctx context.Context, containerID string, tty bool, stdin io.Reader, stdout, stderr io.Writer, resize <-chan TerminalSize) error
	// PortForwardStream connects stream to the TCP port on the loopback address inside the sandbox's network namespace,
	// until either side has closed. The error is errkind.Unavailable if nothing listens there.
	PortForwardStream(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error
}

// Extender takes what a pod may ask of the engine beyond CRI's fields, as values: a runtime in the same process has it, one behind a socket does
// not, for over a socket there would be nothing but annotations, which are anybody's words. The calls are those of CRI otherwise.
type Extender interface {
	// RunSandbox is RunPodSandbox for a pod that asks for extras.
	RunSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string, asked extras.Document) (string, error)
	// MakeContainer is CreateContainer for a container that asks for extras.
	MakeContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, asked extras.Container) (string, error)
}
