// Package engine is the container engine as one: it opens the stores and hands out the parts.
//
// It has no logic of its own and knows no pods: the doors (engine/cri, engine/dockerapi) translate what others ask into calls on the
// parts. Start with Engine, then the package of the part that matters: image, build, volume, container.
package engine

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/cuppa-project/cuppa/engine/build"
	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/engine/image"
	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/engine/volume"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
)

// Config says where an engine keeps things and what it runs containers with.
type Config struct {
	DataDir string // images, build cache and volumes go below it
	RunDir  string // the socket of the docker door goes below it
	Runtime container.Runtime

	SnapshotDriver string // snapshot.Overlay or snapshot.Native; "": the best that works
	CgroupParent   string // below which RUN steps of builds get their cgroups; "": "cuppa"
	BuildCache     int64  // bytes; 0: a tenth of the disk, 10 GiB at most

	// CertsDirs and Credentials are for registries; see image.Options.
	CertsDirs   []string
	Credentials func(host string) (image.Auth, error)

	// VolumeUsers names what uses a volume at present; nil: nothing ever does.
	VolumeUsers func(name string) []string

	Logger *slog.Logger // nil: slog.Default()
}

// Engine is the open engine. Its parts may be used until Run returns or Close is called.
type Engine struct {
	Content *content.Store
	Images  *image.Store
	Builds  *build.Builder
	Volumes *volume.Store
	Runtime container.Runtime

	cfg Config
}

// Paths below the data and run folders.
const (
	imagesDir  = "images"
	buildDir   = "build"
	volumesDir = "volumes"
	socketName = "docker.sock"
)

// New opens the stores. What stands in the way (no root, a full disk, a store in use) is an error that says what to do, and nothing is left
// half-open.
func New(cfg Config) (_ *Engine, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.DataDir == "" || cfg.Runtime == nil {
		return nil, errkind.New(errkind.Invalid, "open engine: data directory and runtime are needed")
	}
	layers, err := snapshot.Open(snapshot.Config{Dir: filepath.Join(cfg.DataDir, imagesDir, "layers"), Driver: cfg.SnapshotDriver, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	if err := snapshot.Require(layers.Dir, 0); err != nil {
		layers.Close()
		return nil, errkind.New(errkind.Exhausted, "open engine: %w", err)
	}
	e := &Engine{cfg: cfg, Runtime: cfg.Runtime}
	e.Content, err = content.Open(context.Background(), content.Config{Dir: filepath.Join(cfg.DataDir, imagesDir, "content"), Layers: layers, Logger: cfg.Logger})
	if err != nil {
		layers.Close()
		return nil, err
	}
	defer func() {
		if err != nil {
			e.Content.Close()
		}
	}()
	e.Images, err = image.New(image.Options{Content: e.Content, CertsDirs: cfg.CertsDirs, Credentials: cfg.Credentials, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	e.Builds, err = build.New(build.Config{
		Dir: filepath.Join(cfg.DataDir, buildDir), Content: e.Content, Images: e.Images, Runtime: cfg.Runtime,
		CacheBytes: cfg.BuildCache, CgroupParent: cfg.CgroupParent, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	e.Volumes, err = volume.New(volume.Config{Dir: filepath.Join(cfg.DataDir, volumesDir), Users: cfg.VolumeUsers})
	return e, err
}

// Socket is where the docker door belongs.
func (e *Engine) Socket() string { return filepath.Join(e.cfg.RunDir, socketName) }

// Run collects garbage in the background until ctx ends, then breaks off the builds. Close afterwards.
func (e *Engine) Run(ctx context.Context) error {
	return run.Group(ctx, e.Content.Run, e.Builds.Run)
}

// Close closes all stores.
func (e *Engine) Close() error {
	err := e.Builds.Close()
	e.Images.Close()
	if cerr := e.Content.Close(); err == nil {
		err = cerr
	}
	return err
}
