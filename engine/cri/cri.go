// Package cri is the door through which a kubelet uses the engine: the Go interfaces of the Container Runtime Interface.
//
// It keeps the pods ("sandboxes") and containers that CRI speaks of as small files of its own, makes OCI specifications, and hands
// everything else on: containers to container.Runtime, images to Images, addresses to Network. It runs no process, and decides
// nothing that the kubelet decides. Start with Service, then sandbox.go and container.go.
package cri

import (
	"context"
	"time"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cuppa-project/cuppa/engine/container"
)

// Image is an image in the store.
type Image struct {
	ID        string   // digest of its configuration, "sha256:..."
	Tags      []string // full references with tags, "docker.io/library/redis:7"
	Digests   []string // full references with digests
	Size      int64    // bytes in the content store
	CreatedAt time.Time
	Config    imagespec.ImageConfig
}

// Auth is how to log in at a registry; the zero value is anonymous.
type Auth struct {
	Username, Password string
	IdentityToken      string
	RegistryToken      string
	ServerAddress      string
}

// Disk is what the image store uses.
type Disk struct {
	Path   string // a folder on the file system in question
	Bytes  uint64
	Inodes uint64
}

// Images is what this door needs of the image store. Errors carry errkind kinds. Every method may be repeated.
type Images interface {
	// Image finds an image by a reference (short names are completed as users of Docker expect), by ID or by a unique start of
	// one. NotFound if it is not in the store.
	Image(ctx context.Context, ref string) (Image, error)
	ListImages(ctx context.Context) ([]Image, error)
	// PullImage fetches an image and returns its ID. A reference that the registry does not know is NotFound, a refused login Denied,
	// a registry that does not answer Unavailable.
	PullImage(ctx context.Context, ref string, auth Auth) (id string, err error)
	// RemoveImage removes one name, or by ID the image with all its names. NotFound is no error.
	RemoveImage(ctx context.Context, ref string) error
	// Usage tells what images use.
	Usage(ctx context.Context) (Disk, error)

	// PrepareRootFS makes (or finds) the writable layer called key on top of the image, and returns how to mount it. The image and its layers
	// cannot be collected while the layer exists.
	PrepareRootFS(ctx context.Context, key, imageID string) ([]container.Mount, error)
	// RemoveRootFS removes the layer. NotFound is no error.
	RemoveRootFS(ctx context.Context, key string) error
	// RootFSUsage tells what the writable layer alone uses.
	RootFSUsage(ctx context.Context, key string) (Disk, error)
}

// PortMapping is a port of the host that leads to a port of a pod.
type PortMapping struct {
	HostIP        string
	HostPort      uint16
	ContainerPort uint16
	Protocol      string // "TCP", "UDP" or "SCTP"
}

// PodNetwork describes a pod to the network.
type PodNetwork struct {
	ID                   string // the sandbox's
	Namespace, Name, UID string
	Hostname             string
	HostNetwork          bool
	PortMappings         []PortMapping
	Annotations          map[string]string
}

// PodAddresses is what the network made of it.
type PodAddresses struct {
	NetNSPath string   // file of the network namespace; "" with HostNetwork
	IPs       []string // the first is the primary one; empty with HostNetwork: the node's are the pod's
}

// Network connects pods.
type Network interface {
	// Setup makes (or finds) the pod's network namespace with its addresses.
	Setup(ctx context.Context, pod PodNetwork) (PodAddresses, error)
	// Teardown removes them. NotFound is no error.
	Teardown(ctx context.Context, pod PodNetwork) error
	// Status returns why pods cannot be connected at present, or nil.
	Status(ctx context.Context) error
}
