package build

import (
	"context"
	"maps"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/worker/base"

	"github.com/cuppa-project/cuppa/engine/image"
)

// exporting is the worker with our defaults for where a build's result goes.
type exporting struct{ *base.Worker }

// Exporter knows "moby", docker's name for "into the store of this engine", as "image".
func (e exporting) Exporter(name string, sessions *session.Manager) (exporter.Exporter, error) {
	if name == "moby" {
		name = client.ExporterImage
	}
	exp, err := e.Worker.Exporter(name, sessions)
	if err != nil || name != client.ExporterImage {
		return exp, err
	}
	return intoStore{exp}, nil
}

type intoStore struct{ exporter.Exporter }

// Resolve adds the defaults. The image is unpacked, so that it can be run at once. Its layers are not compressed: that would take longer than
// the build, and registries and archives accept both.
func (s intoStore) Resolve(ctx context.Context, id int, attrs map[string]string) (exporter.ExporterInstance, error) {
	all := map[string]string{
		"unpack": "true", "compression": "uncompressed",
		"dangling-name-prefix": image.DanglingPrefix, "danging-name-empty-only": "true", // BuildKit's spelling
	}
	maps.Copy(all, attrs)
	return s.Exporter.Resolve(ctx, id, all)
}
