// Package container is the vocabulary of running containers, and the interface to whoever runs them.
//
// The real Runtime is the client of the supervisor, a separate small process (cmd/cuppa-helper) that outlives cuppa;
// containertest has the honest fake and the suite both pass. It knows nothing of images, pods or Kubernetes. Start with Runtime.
package container

import (
	"context"
	"io"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Mount is one mount that makes up a root file system, as snapshotters give them.
type Mount struct {
	Type    string
	Source  string
	Options []string
}

// NamespaceSpec asks for the namespaces a group of containers (a pod) shares; they live as bind-mounted files, without a process.
type NamespaceSpec struct {
	ID       string
	Hostname string // set in the UTS namespace
	IPC, UTS bool   // which to make; the network namespace comes from elsewhere

	// Cgroup is the absolute path of a cgroup that is the parent of the group's containers; "" for none. It is made with the
	// limits in Resources and removed with the namespaces.
	Cgroup    string
	Resources *specs.LinuxResources

	// ShmSize is the size in bytes of a memory file system that the group shares as /dev/shm; 0 for none.
	ShmSize int64
}

// Namespaces are the files of NamespaceSpec, to be named in an OCI spec. Shm is the folder of its memory file system.
type Namespaces struct{ IPC, UTS, Shm string }

// Fill asks for the contents of a folder of the root file system in a folder of the host, before the container's first start
// and only if the latter is empty: how an image fills a new volume.
type Fill struct{ From, To string }

// Image is the tree of an image that a container sees read-only at one of its mounts, besides its root.
type Image struct {
	To      string  // destination of the mount in the OCI spec, whose source the runtime fills in
	RootFS  []Mount // as that of a Spec
	SubPath string  // folder or file of the image to show; "" for all of it. Links in it are taken as inside the image
}

// Spec describes one container.
type Spec struct {
	ID     string
	OCI    *specs.Spec // complete, but for root.path, which the runtime fills in; Hostname is empty when UTS is joined
	RootFS []Mount     // mounted by the runtime in the order given, unmounted after exit; the caller owns the snapshot
	Labels map[string]string

	// User is "name or uid[:name or gid]", looked up in the root file system's /etc/passwd and /etc/group when the container starts;
	// "" leaves the process's user as it is. The groups that /etc/group gives the user are added to
	// the process's, unless StrictGroups.
	User         string
	StrictGroups bool

	Fills  []Fill
	Images []Image

	Terminal  bool
	OpenStdin bool // keep stdin open for Attach
	StdinOnce bool

	// LogPath receives stdout and stderr in CRI's log format, rotated by size; "" for none.
	LogPath string
	LogSize int64 // bytes after which the file is rotated; 0: never
	LogKeep int   // rotated files to keep

	// Init runs the helper's reaper as pid 1 (Compose's init: true). With empty arguments it only reaps, until it is told to end:
	// the holder of a pid namespace that several containers share.
	Init bool
}

// State is where a container stands.
type State string

// The states and their legal order: Created, Running, Exited; Running may become Paused and back.
const (
	Created State = "created"
	Running State = "running"
	Paused  State = "paused"
	Exited  State = "exited"
)

// Status is what is known of a container.
type Status struct {
	ID         string
	State      State
	Pid        int
	ExitCode   int    // 128+signal if a signal ended it
	OOMKilled  bool   // the kernel killed it for lack of memory
	Error      string // why it could not be started
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	Labels     map[string]string
	LogPath    string
}

// EventType says what happened.
type EventType string

// The events.
const (
	EventCreated EventType = "created"
	EventStarted EventType = "started"
	EventExited  EventType = "exited"
	EventOOM     EventType = "oom"
	EventDeleted EventType = "deleted"
)

// Event is one change of a container, with its state right after.
type Event struct {
	Seq    uint64 // grows by one for each event of one supervisor's life
	Type   EventType
	Time   time.Time
	Status Status
}

// Streams carries a process's stdio. Nil members are not connected: input is empty, output is dropped. Resize is read until it
// is closed or the process ends. A Stdin that never returns is left behind with its one goroutine when the process ends, so close
// it afterwards.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer // Stderr is unused with a terminal
	Resize         <-chan Size

	// Attached, if not nil, is called once Attach has joined the process: what it writes from then on arrives. Who starts the process
	// after that loses none of its output.
	Attached func()
}

// Size is a terminal's size in characters.
type Size struct{ Width, Height uint16 }

// Process is a further process in a running container.
type Process struct {
	Args       []string
	Env        []string // complete; nil: the container's
	Dir        string   // "": the container's
	User       string   // "uid[:gid]" or ""; names are resolved by the caller
	Terminal   bool
	Size       Size
	Privileged bool
}

// Stats are a container's counters, read from its cgroups at Time.
type Stats struct {
	Time              time.Time
	CPUUsage          time.Duration
	MemoryUsage       uint64 // bytes
	MemoryWorkingSet  uint64 // bytes, without inactive file pages
	MemoryRSS         uint64
	MemoryLimit       uint64
	PageFaults        uint64
	MajorPageFaults   uint64
	Pids              uint64
	BlkRead, BlkWrite uint64
}

// Runtime runs containers. Every method is safe for concurrent use and for repetition: a second call with the same arguments after
// success is a success. Errors carry errkind kinds. Containers live on when the caller dies.
type Runtime interface {
	// MakeNamespaces makes (or finds) the shared namespaces of spec.ID; RemoveNamespaces lets them go.
	MakeNamespaces(ctx context.Context, spec NamespaceSpec) (Namespaces, error)
	RemoveNamespaces(ctx context.Context, id string) error

	// Create makes the container up to the point before its process runs. Exists if the ID is taken.
	Create(ctx context.Context, spec Spec) error
	// Start lets the process run. An executable that is missing or may not be run is Invalid, with the OCI runtime's words.
	Start(ctx context.Context, id string) error
	// Signal sends a signal to the first process (all: to every process). NotFound when it is gone.
	Signal(ctx context.Context, id string, signal int, all bool) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	// Update changes the resource limits of a container.
	Update(ctx context.Context, id string, resources *specs.LinuxResources) error
	// Delete removes an exited (or created) container with its cgroups and root mount; force kills it first. NotFound is no error.
	Delete(ctx context.Context, id string, force bool) error

	Status(ctx context.Context, id string) (Status, error)
	List(ctx context.Context) ([]Status, error)
	Stats(ctx context.Context, id string) (Stats, error)
	// Wait blocks until the container has exited.
	Wait(ctx context.Context, id string) (Status, error)

	// Exec runs a further process to its end and returns its exit code. Missing binaries are Invalid. When ctx ends first the
	// process is killed.
	Exec(ctx context.Context, id string, p Process, s Streams) (exitCode int, err error)
	// Attach joins the first process's stdio until it ends. It may be called between Create and Start, and then misses nothing;
	// the end of Stdin closes the container's only if Spec.StdinOnce.
	Attach(ctx context.Context, id string, s Streams) error
	// ReopenLog makes the supervisor open LogPath again, after an outside rotation.
	ReopenLog(ctx context.Context, id string) error

	// Events delivers changes after the sequence number, in order; 0: first one synthetic event per container as it stands, then
	// changes. The channel closes when ctx ends or the connection to the supervisor is lost.
	Events(ctx context.Context, after uint64) (<-chan Event, error)
}
