package image

import (
	"context"
	"errors"
	"fmt"

	bcontent "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Pushed says what a registry holds after a push.
type Pushed struct {
	Tag    string
	Digest string
	Size   int64
}

// Push sends an image to the registry its name says, and returns under which digest it is there now.
func (s *Store) Push(ctx context.Context, name string, opts PullOptions) (Pushed, error) {
	ref, err := ParseName(name)
	if err != nil {
		return Pushed{}, err
	}
	img, err := s.Inspect(ctx, ref.String())
	if err != nil {
		return Pushed{}, noSuchTag(err, ref)
	}
	lctx, done, err := s.content.Lease(ctx)
	if err != nil {
		return Pushed{}, err
	}
	defer done()
	rep := newReporter(opts.Progress)
	rep.step(Progress{Status: fmt.Sprintf("The push refers to repository [%s]", ref.Name())})
	target := exported(img)
	pusher, err := s.resolver(opts.Auth).Pusher(lctx, ref.String())
	if err != nil {
		return Pushed{}, pushError(err, ref)
	}
	if err := remotes.PushContent(lctx, reportingPusher{pusher, rep}, target, s.content.Blobs(), nil, platforms.All, nil); err != nil {
		return Pushed{}, pushError(err, ref)
	}
	if byDigest, err := reference.WithDigest(reference.TrimNamed(ref), target.Digest); err == nil {
		if err := s.point(lctx, byDigest.String(), target); err != nil {
			return Pushed{}, err
		}
	}
	tag := ""
	if t, ok := ref.(reference.Tagged); ok {
		tag = t.Tag()
	}
	rep.step(Progress{Status: fmt.Sprintf("%s: digest: %s size: %d", tag, target.Digest, target.Size)})
	return Pushed{Tag: tag, Digest: target.Digest.String(), Size: target.Size}, nil
}

// noSuchTag words a missing image as docker's push does.
func noSuchTag(err error, ref reference.Named) error {
	if !errors.Is(err, errkind.NotFound) {
		return err
	}
	return errkind.New(errkind.NotFound, "An image does not exist locally with the tag: %s", reference.FamiliarName(ref))
}

// reportingPusher reports the layers as they go.
type reportingPusher struct {
	remotes.Pusher
	rep *reporter
}

func (p reportingPusher) Push(ctx context.Context, desc ocispec.Descriptor) (bcontent.Writer, error) {
	writer, err := p.Pusher.Push(ctx, desc)
	if !images.IsLayerType(desc.MediaType) {
		return writer, err
	}
	if errdefs.IsAlreadyExists(err) {
		p.rep.step(Progress{ID: short(desc), Status: "Layer already exists"})
	}
	if err != nil {
		return writer, err
	}
	p.rep.step(Progress{ID: short(desc), Status: "Pushing", Total: desc.Size})
	return &reportingWriter{Writer: writer, desc: desc, rep: p.rep}, nil
}

// reportingWriter counts what a registry was sent of one layer.
type reportingWriter struct {
	bcontent.Writer
	desc ocispec.Descriptor
	sent int64
	rep  *reporter
}

func (w *reportingWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.sent += int64(n)
	w.rep.step(Progress{ID: short(w.desc), Status: "Pushing", Current: w.sent, Total: w.desc.Size})
	return n, err
}

func (w *reportingWriter) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...bcontent.Opt) error {
	err := w.Writer.Commit(ctx, size, expected, opts...)
	if err == nil || errdefs.IsAlreadyExists(err) {
		w.rep.step(Progress{ID: short(w.desc), Status: "Pushed"})
	}
	return err
}
