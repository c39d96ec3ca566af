package etcd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/run"
)

// EmbeddedConfig says how an etcd member lives in this process.
type EmbeddedConfig struct {
	Dir    string       // its data; made with mode 0700
	Logger *slog.Logger // gets etcd's errors; nil: none
	Quota  int64        // bytes of database after which writes fail with Exhausted; 0: 8 GiB

	// History is how long old revisions can still be read and watched from; 0: five minutes.
	History time.Duration
	// ListenClient is an address for other clients ("http://127.0.0.1:2379"). "": none; this process needs no listener.
	ListenClient string
	// Unsafe leaves fsync out: a crash of the machine loses data. For tests.
	Unsafe bool
}

// Embedded is a single etcd member in this process.
type Embedded struct {
	cfg   EmbeddedConfig
	ready chan struct{}
	store *Store
}

// NewEmbedded prepares a member; Run starts it.
func NewEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	if cfg.Dir == "" {
		return nil, errkind.New(errkind.Invalid, "embedded etcd needs a data directory")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Quota == 0 {
		cfg.Quota = 8 << 30
	}
	return &Embedded{cfg: cfg, ready: make(chan struct{})}, nil
}

// Ready is closed once the member serves.
func (e *Embedded) Ready() <-chan struct{} { return e.ready }

// Store is the member's store, from Ready on; nil before.
func (e *Embedded) Store() *Store {
	select {
	case <-e.ready:
		return e.store
	default:
		return nil
	}
}

// smallSegments makes the write-ahead log grow in steps of 8 MB: etcd preallocates two segments, by default of 64 MB each. The
// library has no other way to say so.
var smallSegments = sync.OnceFunc(func() { wal.SegmentSizeBytes = 8 << 20 })

// Run serves until ctx ends, then stops gracefully. It returns an error when the member cannot start or stops by itself.
func (e *Embedded) Run(ctx context.Context) error {
	unlock, err := lockDir(e.cfg.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	cfg, err := e.member()
	if err != nil {
		return err
	}
	smallSegments()
	member, err := start(cfg)
	if err != nil {
		return err
	}
	defer member.Close()
	electNow(ctx, member.Server)
	select {
	case <-member.Server.ReadyNotify():
	case <-ctx.Done():
		return nil
	case <-member.Server.StopNotify():
		return errkind.New(errkind.Unavailable, "the embedded etcd stopped while it started")
	case err := <-member.Err():
		return errkind.New(errkind.Unavailable, "start the embedded etcd: %w", err)
	}
	client := v3client.New(member.Server)
	defer closeClient(client)
	if err := relieve(ctx, member.Server, client); err != nil && ctx.Err() == nil {
		return err
	}
	// With one member the applied revision is the committed one: whatever was acknowledged is in it.
	now := func() (int64, bool) { return member.Server.KV().Rev(), true }
	if e.store, err = New(Config{Client: client, Now: now}); err != nil {
		return err
	}
	close(e.ready)
	return run.Group(ctx, keepHistory(e.store, e.cfg.History, e.cfg.Logger), func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-member.Server.StopNotify():
			return errkind.New(errkind.Unavailable, "the embedded etcd stopped")
		case err := <-member.Err():
			return errkind.New(errkind.Unavailable, "run the embedded etcd: %w", err)
		}
	})
}

// start starts the member. etcd panics over files that make no sense to it; over its database it does so where nobody can stop it, so that is
// looked at before.
func start(cfg *embed.Config) (member *embed.Etcd, err error) {
	if err := readable(filepath.Join(cfg.Dir, "member", "snap", "db")); err != nil {
		return nil, damaged(cfg.Dir, err)
	}
	defer func() {
		cause := recover()
		if _, ours := cause.(runtime.Error); ours {
			cause = "a file in it makes no sense" // not where in etcd that was noticed
		}
		if cause != nil {
			member, err = nil, damaged(cfg.Dir, cause)
		}
	}()
	member, err = embed.StartEtcd(cfg)
	if err != nil {
		return nil, damaged(cfg.Dir, err)
	}
	return member, nil
}

// readable says whether a database can be opened. One that is not there, or empty, will be made.
func readable(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return db.Close()
}

func damaged(dir string, cause any) error {
	return errkind.New(errkind.Unavailable, "the cluster's store in %s cannot be opened: %v; restore the directory from a backup, or move it away to begin with an empty cluster", dir, cause)
}

// keepHistory compacts for as long as the store runs; 0 keeps five minutes.
func keepHistory(store *Store, keep time.Duration, log *slog.Logger) run.Func {
	if keep == 0 {
		keep = 5 * time.Minute
	}
	return func(ctx context.Context) error { return storage.KeepHistory(ctx, store, keep, log) }
}

// closeClient ends the in-process watches; the other parts of this client hold nothing.
func closeClient(client *clientv3.Client) {
	_ = client.Watcher.Close()
	_ = client.Close()
}

// member is etcd's configuration, each line with its reason.
func (e *Embedded) member() (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.Name = "cuppa"
	cfg.Dir = e.cfg.Dir
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.InitialClusterToken = rand.Text() // makes the ids of cluster and member; a restart finds them in the directory
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapTo(e.cfg.Logger))
	cfg.QuotaBackendBytes = e.cfg.Quota
	cfg.UnsafeNoFsync = e.cfg.Unsafe

	// No peer needs heartbeats, and electNow does not wait for the timeout: the slower the tick, the less it costs at rest.
	cfg.TickMs, cfg.ElectionMs = 200, 1000
	// A snapshot bounds what a restart replays, and the other what raft holds in memory. No slow follower needs old entries.
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = 2000, 1000
	cfg.BootstrapDefragThresholdMegabytes = 128

	// keepHistory compacts, as it does for an external cluster.
	cfg.AutoCompactionRetention = "0"
	cfg.EnableGRPCGateway = false
	cfg.AuthToken = ""
	cfg.DowngradeCheckTime = time.Hour
	cfg.WatchProgressNotifyInterval = 10 * time.Minute
	cfg.WarningApplyDuration = time.Second
	cfg.WarningUnaryRequestDuration = 5 * time.Second

	cfg.ListenPeerUrls, cfg.ListenClientUrls = nil, nil
	if e.cfg.ListenClient != "" {
		u, err := url.Parse(e.cfg.ListenClient)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "client address of the embedded etcd: %w", err)
		}
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*u}, []url.URL{*u}
	}
	return cfg, nil
}

// lockDir makes the directory and takes it for this process: a second member on the same files would wait in silence.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, damaged(dir, err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, errkind.New(errkind.Unavailable, "protect the data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, errkind.New(errkind.Unavailable, "lock the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, errkind.New(errkind.Precondition, "data directory %q is in use by another process: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}
