// Package content is the store everything of the engine lies in: blobs by digest, names of images, layers, leases, and the collection of
// what nothing refers to any more.
//
// It is containerd's libraries in this process, in one namespace for pods, builds and the Docker door, so that what one of them made
// the others see at once. It knows no image format: package image does. Start with Open.
package content

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
)

// Namespace is the one containerd namespace of an engine.
const Namespace = "cuppa"

// temporary marks leases that belong to one piece of work: none of them means anything after a restart.
const temporary = "cuppa.dev/temporary"

// Config says where the store is.
type Config struct {
	Dir    string
	Layers *snapshot.Driver // the open layer store; closed with the Store
	Logger *slog.Logger     // nil: slog.Default()
}

// Store is the open store. Every method is safe for concurrent use.
type Store struct {
	dir    string
	log    *slog.Logger
	layers *snapshot.Driver
	blobs  content.Store
	db     *metadata.DB
	dirty  chan struct{} // holds a token when something changed since the last collection
	trash  chan struct{} // holds a token when a root was let go

	roots   *snapshot.Roots
	journal *journal
	torn    bool // the machine crashed, and layers went for it
}

// Open opens or makes the store. A second process on the same folder is refused as Unavailable.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	// The decompressor would otherwise run igzip or unpigz from PATH if it finds them: an engine whose results depend on what else is
	// installed is not self-contained.
	for _, name := range []string{"CONTAINERD_DISABLE_IGZIP", "CONTAINERD_DISABLE_PIGZ"} {
		if err := os.Setenv(name, "1"); err != nil {
			return nil, errkind.New(errkind.Internal, "open content store: %w", err)
		}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, Wrap(err, "open content store")
	}
	path := filepath.Join(cfg.Dir, "meta.db")
	boltDB, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, errkind.New(errkind.Unavailable, "open content store %s: another process uses it: stop that one, or choose another data directory", cfg.Dir)
	}
	if err != nil {
		return nil, damaged(path, cfg.Dir, err)
	}
	s := &Store{dir: cfg.Dir, log: cfg.Logger, layers: cfg.Layers, dirty: make(chan struct{}, 1), trash: make(chan struct{}, 1), journal: newJournal(cfg.Dir)}
	if err := s.open(ctx, boltDB); err != nil {
		boltDB.Close()
		return nil, Wrap(err, "open content store %s", cfg.Dir)
	}
	return s, nil
}

// damaged adds to an error about a file of the store what can be done, unless the disk is to blame.
func damaged(path, dir string, err error) error {
	if snapshot.Full(err) || errors.Is(err, fs.ErrPermission) {
		return Wrap(err, "open content store %s", path)
	}
	return errkind.New(errkind.Unavailable, "%s cannot be read: %w; restore %s from a backup, or move it away to begin without images", path, err, filepath.Dir(dir))
}

func (s *Store) open(ctx context.Context, boltDB *bolt.DB) error {
	blobs, err := local.NewStore(s.dir)
	if err != nil {
		return err
	}
	s.blobs = blobs
	s.db = metadata.NewDB(boltDB, blobs, map[string]snapshots.Snapshotter{s.layers.Name: noting{s.layers.Snapshotter, s.journal}})
	if err := s.db.Init(ctx); err != nil {
		return err
	}
	s.db.RegisterMutationCallback(func(removed bool) {
		if removed {
			s.Collect()
		}
	})
	if err := s.dropLeases(s.Context(ctx)); err != nil {
		return err
	}
	if s.torn, err = s.afterBoot(s.Context(ctx)); err != nil {
		return err
	}
	if s.roots, err = snapshot.OpenRoots(s.Context(ctx), s.layers, s.Layers(), s.journal.boot); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(s.dir, unsyncedFile)); err == nil {
		s.journal.noted = true // of this boot: it is still in memory
	}
	s.takeBallast()
	s.Collect() // whatever a crash left behind goes in the first collection
	return nil
}

// dropLeases forgets the work of an earlier life of this store.
func (s *Store) dropLeases(ctx context.Context) error {
	list, err := s.Leases().List(ctx, `labels."`+temporary+`"`)
	if err != nil {
		return err
	}
	for _, lease := range list {
		if err := s.Leases().Delete(ctx, lease); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the store and its layer store.
func (s *Store) Close() error {
	err := s.db.Close()
	if lerr := s.layers.Close(); err == nil {
		err = lerr
	}
	return err
}

// Dir is the folder of the store.
func (s *Store) Dir() string { return s.dir }

// DB is the metadata database, for BuildKit, which joins the store at that level.
func (s *Store) DB() *metadata.DB { return s.db }

// Blobs is the content store.
func (s *Store) Blobs() content.Store { return s.db.ContentStore() }

// Images is the table of image names.
func (s *Store) Images() images.Store { return metadata.NewImageStore(s.db) }

// Leases is the table of leases.
func (s *Store) Leases() leases.Manager { return metadata.NewLeaseManager(s.db) }

// Layers is the layer store as the metadata knows it; LayerDriver is its driver's name.
func (s *Store) Layers() snapshots.Snapshotter { return s.db.Snapshotter(s.layers.Name) }

// Roots are the writable roots of containers. Their calls take a Context of this store.
func (s *Store) Roots() *snapshot.Roots { return s.roots }

// LayerDriver names the snapshot driver in use.
func (s *Store) LayerDriver() string { return s.layers.Name }

// LayerDir is where the layers' files are.
func (s *Store) LayerDir() string { return s.layers.Dir }

// Applier unpacks a layer blob onto mounts.
func (s *Store) Applier() diff.Applier { return apply.NewFileSystemApplier(s.Blobs()) }

// Context returns a context that speaks to this store: containerd's libraries find the namespace in it.
func (s *Store) Context(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, Namespace)
}

// Lease keeps everything written under the returned context from being collected until done is called. Work takes a lease first, writes,
// then makes the references that keep what it wrote, then lets the lease go: an interruption at any point leaves only garbage.
func (s *Store) Lease(ctx context.Context) (_ context.Context, done func(), _ error) {
	ctx = s.Context(ctx)
	lease, err := s.Leases().Create(ctx, leases.WithID("cuppa-"+rand.Text()), leases.WithLabel(temporary, "true"), leases.WithExpiration(24*time.Hour))
	if err != nil {
		return nil, nil, Wrap(err, "take lease")
	}
	done = func() {
		s.dropBallast()
		if err := s.Leases().Delete(context.WithoutCancel(ctx), lease); err != nil {
			s.log.Error("lease was not released", "lease", lease.ID, "err", err)
		}
		s.Collect()
	}
	return leases.WithLease(ctx, lease.ID), done, nil
}

// Torn says that layers, and all leases, went because the machine crashed while they were being written. What depends on leases must
// begin anew.
func (s *Store) Torn() bool { return s.torn }

// Boot names the machine's present boot.
func (s *Store) Boot() string { return s.journal.boot }

// Collect asks for a collection soon. It never waits for one.
func (s *Store) Collect() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// Tidy asks for the files of removed roots to be removed soon, which needs no collection.
func (s *Store) Tidy() {
	select {
	case s.trash <- struct{}{}:
	default:
	}
}

// Sweep collects now and returns when the room is free again. Only Run and an explicit prune call it: removing large layers takes seconds.
func (s *Store) Sweep(ctx context.Context) (gc.Stats, error) {
	stats, err := s.db.GarbageCollect(s.Context(ctx))
	if err != nil {
		return nil, Wrap(err, "collect garbage")
	}
	if err := s.roots.Sweep(); err != nil {
		return nil, Wrap(err, "collect garbage")
	}
	s.takeBallast()
	return stats, nil
}

// Run collects garbage and writes layers out, in the background, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	return run.Group(ctx, s.collect, s.tidy, s.writeOut)
}

func (s *Store) tidy(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.trash:
			if err := s.roots.Sweep(); err != nil {
				s.log.Error("files of a container were not removed", "err", err)
			}
		}
	}
}

// collect waits for a moment of calm after each change, since work comes in bursts and one collection reads the whole metadata. Now and then it
// collects without a change: leases may just have expired.
func (s *Store) collect(ctx context.Context) error {
	const (
		calm  = 500 * time.Millisecond
		often = 10 * time.Minute
	)
	expiry := time.NewTicker(often)
	defer expiry.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.dirty:
		case <-expiry.C:
		}
		timer := time.NewTimer(calm)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		select { // removals during the wait are part of this collection
		case <-s.dirty:
		default:
		}
		started := time.Now()
		if _, err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("garbage was not collected", "err", err)
			continue
		}
		s.log.Debug("garbage collected", "took", time.Since(started))
	}
}
