package image

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// PullOptions refine a pull.
type PullOptions struct {
	Auth     Auth           // empty: the login configured for the registry
	Progress func(Progress) // nil: nobody looks
}

// Pull brings an image from its registry, unpacks it and gives it its name. The image is whole or not there: an interrupted pull leaves no
// name, and what it brought already is used by the next one if that comes soon.
func (s *Store) Pull(ctx context.Context, name string, opts PullOptions) (Image, error) {
	ref, err := ParseName(name)
	if err != nil {
		return Image{}, err
	}
	if err := snapshot.Require(s.content.Dir(), 0); err != nil {
		return Image{}, errkind.New(errkind.Exhausted, "pull image %q: %w", reference.FamiliarString(ref), err)
	}
	lctx, done, err := s.content.Lease(ctx)
	if err != nil {
		return Image{}, err
	}
	defer done()
	rep := newReporter(opts.Progress)
	unlock, err := s.pulls.lock(ctx, ref.String())
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	before, _, _ := s.byName(ctx, ref.String())
	target, err := s.fetch(lctx, ref, opts.Auth, rep)
	if err == nil {
		err = ctx.Err() // whoever went away does not want the name either
	}
	if err != nil {
		return Image{}, pullError(err, ref)
	}
	// The digest is a name too: it is how a pod that names its image by digest finds it, and what inspect shows.
	byDigest, err := reference.WithDigest(reference.TrimNamed(ref), target.Digest)
	if err != nil {
		return Image{}, errkind.New(errkind.Internal, "pull image %q: %w", name, err)
	}
	for _, n := range []string{ref.String(), byDigest.String()} {
		if err := s.point(lctx, n, target); err != nil {
			return Image{}, err
		}
	}
	img, err := s.Inspect(ctx, ref.String())
	if err != nil {
		return Image{}, err
	}
	rep.step(Progress{Status: "Digest: " + target.Digest.String()})
	if before.ID == img.ID {
		rep.step(Progress{Status: "Status: Image is up to date for " + reference.FamiliarString(ref)})
	} else {
		rep.step(Progress{Status: "Status: Downloaded newer image for " + reference.FamiliarString(ref)})
	}
	return img, nil
}

// keyLock lets one at a time work on a key: ten pods of one image pull it once, and the others find it whole.
type keyLock struct {
	mu   sync.Mutex
	busy map[string]chan struct{} // closed when the key is free
}

func (k *keyLock) lock(ctx context.Context, key string) (unlock func(), _ error) {
	for {
		k.mu.Lock()
		wait, busy := k.busy[key]
		if !busy {
			free := make(chan struct{})
			if k.busy == nil {
				k.busy = map[string]chan struct{}{}
			}
			k.busy[key] = free
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.busy, key)
				k.mu.Unlock()
				close(free)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// version is the tag or digest of a name.
func version(ref reference.Named) string {
	switch r := ref.(type) {
	case reference.Digested:
		return r.Digest().String()
	case reference.Tagged:
		return r.Tag()
	}
	return "latest"
}

// fetch brings the image behind ref into the store, unpacked.
func (s *Store) fetch(ctx context.Context, ref reference.Named, auth Auth, rep *reporter) (ocispec.Descriptor, error) {
	resolver := s.resolver(auth)
	name, target, err := resolver.Resolve(ctx, ref.String())
	if err != nil {
		return target, err
	}
	rep.step(Progress{ID: version(ref), Status: "Pulling from " + reference.Path(ref)})
	if target.MediaType == images.MediaTypeDockerSchema1Manifest {
		return target, errkind.New(errkind.Invalid, "the image is in docker's schema 1, which has been out of use since 2017: push it anew")
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return target, err
	}
	source, err := docker.AppendDistributionSourceLabel(s.content.Blobs(), ref.String())
	if err != nil {
		return target, err
	}
	get := remotes.FetchHandler(s.content.Blobs(), remotes.FetcherFunc(func(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
		body, err := fetcher.Fetch(ctx, desc)
		if err != nil || !images.IsLayerType(desc.MediaType) {
			return body, err
		}
		return &counted{ReadCloser: body, total: desc.Size, report: func(at int64) {
			rep.step(Progress{ID: short(desc), Status: "Downloading", Current: at, Total: desc.Size})
		}}, nil
	}))
	bring := images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		layer := images.IsLayerType(desc.MediaType)
		_, missing := s.content.Blobs().Info(ctx, desc.Digest)
		if _, err := get(ctx, desc); err != nil {
			return nil, fmt.Errorf("fetch %s: %w", desc.Digest, err)
		}
		switch {
		case layer && missing == nil:
			rep.step(Progress{ID: short(desc), Status: "Already exists"})
		case layer:
			rep.step(Progress{ID: short(desc), Status: "Download complete"})
		}
		return source(ctx, desc)
	})
	target.Annotations = nil
	return target, s.take(ctx, target, bring, rep)
}
