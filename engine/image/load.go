package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	bcontent "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Loaded is one image that came out of an archive.
type Loaded struct {
	Image
	Names []string // the names the archive gave it, short; none: it is known by its ID alone
}

// Load reads an archive (docker's format or a tar of an OCI layout, plain or compressed) and stores and unpacks all its images.
// Either all of them are there afterwards or none. size is the archive's length if it is known, else 0.
func (s *Store) Load(ctx context.Context, archiveTar io.Reader, size int64, progress func(Progress)) ([]Loaded, error) {
	if err := snapshot.Require(s.content.Dir(), 2*size); err != nil {
		return nil, errkind.New(errkind.Exhausted, "load images: %w", err)
	}
	ctx, done, err := s.content.Lease(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	loaded, err := s.load(ctx, archiveTar, newReporter(progress))
	if err != nil {
		return nil, content.Wrap(err, "load images")
	}
	return loaded, nil
}

func (s *Store) load(ctx context.Context, archiveTar io.Reader, rep *reporter) ([]Loaded, error) {
	plain, err := compression.DecompressStream(archiveTar)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	ingest := &ownRefs{Store: s.content.Blobs(), prefix: "load-" + rand.Text() + "-"}
	defer ingest.abort(context.WithoutCancel(ctx))
	indexDesc, err := archive.ImportIndex(ctx, ingest, plain)
	if err != nil {
		if !snapshot.Full(err) && ctx.Err() == nil {
			return nil, errkind.New(errkind.Invalid, "this is no image archive, or a damaged one: %w", err)
		}
		return nil, err
	}
	blob, err := bcontent.ReadBlob(ctx, s.content.Blobs(), indexDesc)
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(blob, &index); err != nil {
		return nil, errkind.New(errkind.Invalid, "read the archive's index: %w", err)
	}
	if len(index.Manifests) == 0 {
		return nil, errkind.New(errkind.Invalid, "the archive holds no image")
	}
	return s.name(ctx, index.Manifests, rep)
}

// name unpacks the archive's images and then, when all of them are whole, gives them their names.
func (s *Store) name(ctx context.Context, entries []ocispec.Descriptor, rep *reporter) ([]Loaded, error) {
	type named struct {
		target ocispec.Descriptor
		detail detail
		names  []string
	}
	var found []*named
	for _, entry := range entries {
		if entry.Annotations["vnd.docker.reference.type"] != "" || (!images.IsManifestType(entry.MediaType) && !images.IsIndexType(entry.MediaType)) {
			continue
		}
		name := archiveName(entry)
		target := ocispec.Descriptor{MediaType: entry.MediaType, Digest: entry.Digest, Size: entry.Size}
		var same *named
		for _, f := range found {
			if f.target.Digest == target.Digest {
				same = f
			}
		}
		if same == nil {
			if err := s.take(ctx, target, nil, rep); err != nil {
				if snapshot.Full(err) { // where the libraries noticed is of no use to the reader
					err = errkind.New(errkind.Exhausted, "no space left on device: the disk of the data directory is full (remove images with `cuppa image rm`, or make room on it)")
				}
				err = fmt.Errorf("unpack %s: %w", strings.TrimSpace(ShortName(name)+" "+target.Digest.String()), err)
				if damaged(err) {
					err = errkind.New(errkind.Invalid, "the archive is damaged: %w", err)
				}
				return nil, err
			}
			d, err := s.detail(ctx, target)
			if err != nil {
				return nil, errkind.New(errkind.Invalid, "the archive is incomplete: %w", err)
			}
			same = &named{target: target, detail: d}
			found = append(found, same)
		}
		if name != "" {
			same.names = append(same.names, name)
		}
	}
	var out []Loaded
	for _, f := range found {
		result := Loaded{Image: *newImage(f.target, f.detail)}
		for _, name := range f.names {
			if err := s.point(ctx, name, f.target); err != nil {
				return nil, err
			}
			result.Names = append(result.Names, ShortName(name))
		}
		if len(f.names) == 0 {
			if err := s.keepUnnamed(ctx, f.target); err != nil {
				return nil, err
			}
		}
		out = append(out, result)
	}
	return out, nil
}

// damaged says whether unpacking failed for what is in the layers, and not for what became of them here. The libraries have no error kinds
// for it.
func damaged(err error) bool {
	return errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) ||
		strings.Contains(err.Error(), "wrong diff id") || strings.Contains(err.Error(), "number of layers and diffIDs don't match")
}

// keepUnnamed stores an image that brought no name.
func (s *Store) keepUnnamed(ctx context.Context, target ocispec.Descriptor) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	return s.keepNameless(ctx, images.Image{Target: target})
}

// archiveName is the full name an archive's index gives an entry: containerd's and docker's annotation first, then OCI's, which may be a
// bare tag and then names nothing.
func archiveName(entry ocispec.Descriptor) string {
	for _, name := range []string{entry.Annotations[images.AnnotationImageName], entry.Annotations[ocispec.AnnotationRefName]} {
		if name == "" || !strings.ContainsAny(name, ":/") {
			continue
		}
		if ref, err := reference.ParseDockerRef(name); err == nil {
			return ref.String()
		}
	}
	return ""
}

// ownRefs gives every load its own names for unfinished blobs: two loads at once would otherwise continue each other's.
type ownRefs struct {
	bcontent.Store
	prefix string
}

func (o *ownRefs) Writer(ctx context.Context, opts ...bcontent.WriterOpt) (bcontent.Writer, error) {
	var w bcontent.WriterOpts
	for _, opt := range opts {
		if err := opt(&w); err != nil {
			return nil, err
		}
	}
	return o.Store.Writer(ctx, append(opts, bcontent.WithRef(o.prefix+w.Ref))...)
}

func (o *ownRefs) abort(ctx context.Context) {
	statuses, err := o.ListStatuses(ctx)
	if err != nil {
		return
	}
	for _, st := range statuses {
		if strings.HasPrefix(st.Ref, o.prefix) {
			_ = o.Abort(ctx, st.Ref) // the lease's end leaves the rest to the collector
		}
	}
}
