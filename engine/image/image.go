// Package image is the store of images: their names, their configuration, how they come in and go out (archives, registries), and the
// root file systems that containers get from them.
//
// It stands on package content and follows docker's words and rules for names, so that its doors need only translate. It runs nothing
// and builds nothing. Start with Image and Store.
package image

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/engine/snapshot"
)

// Config is an image's configuration as docker writes it: OCI's with the health check, ONBUILD and SHELL.
type Config = dockerspec.DockerOCIImage

// Image is one image as it stands. It is a value: what changes is which names point at it.
type Image struct {
	ID       digest.Digest      // digest of the configuration, as docker and the kubelet know images
	Target   ocispec.Descriptor // what its names point at: a manifest, or an index over several platforms
	Manifest digest.Digest      // the manifest for this machine
	Tags     []string           // short names with tag, sorted: "redis:latest", "localhost:5000/a/b:1"
	Digests  []string           // short names with digest, sorted: "redis@sha256:..."
	Size     int64              // bytes of its unpacked layers, or of its blobs while it is not unpacked
	Created  time.Time
	Tagged   time.Time // when a name was last pointed at it
	Config   Config

	manifest ocispec.Descriptor
	layers   []ocispec.Descriptor
}

// Dangling says that no name points at the image any more.
func (i Image) Dangling() bool { return len(i.Tags) == 0 && len(i.Digests) == 0 }

// Options configure a Store.
type Options struct {
	Content *content.Store

	// CertsDirs are searched for <host[:port]>/{ca.crt,client.cert,client.key}, as docker's /etc/docker/certs.d; nil: that folder.
	CertsDirs []string
	// Credentials finds the login for a registry when the caller brought none; nil: docker's configuration file of this process's user.
	Credentials func(host string) (Auth, error)

	Logger *slog.Logger // nil: slog.Default()
}

// Store holds images. Every method is safe for concurrent use.
type Store struct {
	content *content.Store
	roots   *snapshot.Roots
	opts    Options
	log     *slog.Logger
	host    platforms.MatchComparer

	naming sync.Mutex // one change of names at a time: reading what a name pointed at and moving it belong together
	cache  details    // what was read of immutable blobs
	pulls  keyLock

	connections connections
}

// Close lets go of connections to registries. Pulls and pushes must have ended.
func (s *Store) Close() { s.connections.close() }

// New returns a store of images on an open content store.
func New(opts Options) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.CertsDirs == nil {
		opts.CertsDirs = []string{"/etc/docker/certs.d"}
	}
	if opts.Credentials == nil {
		opts.Credentials = DockerConfigCredentials
	}
	return &Store{
		content: opts.Content,
		roots:   opts.Content.Roots(),
		opts:    opts,
		log:     opts.Logger,
		host:    platforms.Default(),
	}, nil
}

// records reads all names.
func (s *Store) records(ctx context.Context) ([]images.Image, error) {
	list, err := s.content.Images().List(s.content.Context(ctx))
	if err != nil {
		return nil, content.Wrap(err, "list images")
	}
	return list, nil
}
