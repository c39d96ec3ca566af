// Package wire is the protocol between cuppa and its supervisor, a unix socket on one machine.
//
// A connection is a call: the client sends one request frame, with the file descriptors it hands over, and reads reply frames until
// the server closes. Closing the connection early takes back what can be taken back (a wait, an attach, an exec). A frame is its
// length in four bytes and JSON. The package has no behaviour beyond that. Start with the list of operations.
package wire

import (
	"encoding/json"
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Protocol is the version that this package speaks. A server keeps answering the versions from Oldest on, so that a running
// supervisor serves a newer cuppa; a change that an old peer would misread raises both numbers.
const (
	Protocol = 1
	Oldest   = 1
)

// The operations, each with the body of its request and of its last reply.
const (
	OpHello            = "hello"             // Hello -> Hello
	OpShutdown         = "shutdown"          // Shutdown -> nothing
	OpMakeNamespaces   = "make-namespaces"   // container.NamespaceSpec -> container.Namespaces
	OpRemoveNamespaces = "remove-namespaces" // ID -> nothing
	OpCreate           = "create"            // container.Spec -> nothing
	OpStart            = "start"             // ID -> nothing
	OpSignal           = "signal"            // Signal -> nothing
	OpPause            = "pause"             // ID -> nothing
	OpResume           = "resume"            // ID -> nothing
	OpUpdate           = "update"            // Update -> nothing
	OpDelete           = "delete"            // Delete -> nothing
	OpStatus           = "status"            // ID -> container.Status
	OpList             = "list"              // nothing -> []container.Status
	OpStats            = "stats"             // ID -> container.Stats
	OpWait             = "wait"              // ID -> container.Status
	OpReopenLog        = "reopen-log"        // ID -> nothing
	OpExec             = "exec"              // Exec -> Started (with the terminal), then Exit
	OpAttach           = "attach"            // Attach; the client may send Resize frames -> nothing
	OpEvents           = "events"            // Events -> container.Event, for ever
)

// Request is the first frame of a call.
type Request struct {
	Op   string          `json:"op"`
	Body json.RawMessage `json:"body,omitempty"`
}

// Reply is every frame of an answer.
type Reply struct {
	Error *Error          `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

// Hello introduces each side to the other.
type Hello struct {
	Protocol, Oldest int
	Build            string // digest of the helper binary
	Pid              int
	Containers       int // that exist, in the server's answer
}

// ID names a container or a group of namespaces.
type ID struct{ ID string }

// Shutdown asks the supervisor to end. With Force containers are killed and removed first; otherwise it is refused while there are any.
type Shutdown struct{ Force bool }

// Signal is a signal to a container.
type Signal struct {
	ID     string
	Signal int
	All    bool
}

// Update changes limits.
type Update struct {
	ID        string
	Resources *specs.LinuxResources
}

// Delete removes a container.
type Delete struct {
	ID    string
	Force bool
}

// Stdio says which of the three streams the request carries a file descriptor for, in this order.
type Stdio struct{ Stdin, Stdout, Stderr bool }

// Exec runs a process.
type Exec struct {
	ID      string
	Process container.Process
	Stdio   Stdio
}

// Started says that an exec's process runs.
type Started struct{ Pid int }

// Exit says how a process ended.
type Exit struct{ Code int }

// Attach joins a container's streams.
type Attach struct {
	ID    string
	Stdio Stdio
}

// Resize changes the size of an attached container's terminal.
type Resize = container.Size

// Events asks for changes after a sequence number.
type Events struct{ After uint64 }

// Error is an error with its kind.
type Error struct{ Kind, Message string }

// ErrorOf turns an error into what is sent.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil
	}
	kind := errkind.Of(err)
	if kind == nil {
		kind = errkind.Internal
	}
	return &Error{Kind: kind.Error(), Message: err.Error()}
}

// Err turns what was sent into an error again.
func (e *Error) Err() error {
	if e == nil {
		return nil
	}
	for _, kind := range []error{errkind.NotFound, errkind.Exists, errkind.Conflict, errkind.Invalid, errkind.Denied,
		errkind.Unavailable, errkind.Precondition, errkind.Expired, errkind.Exhausted} {
		if kind.Error() == e.Kind {
			return errkind.New(kind, "%w", errors.New(e.Message))
		}
	}
	return errkind.New(errkind.Internal, "%w", errors.New(e.Message))
}
