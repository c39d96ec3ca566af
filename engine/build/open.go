package build

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/platforms"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/cache/remotecache"
	inlinecache "github.com/moby/buildkit/cache/remotecache/inline"
	localcache "github.com/moby/buildkit/cache/remotecache/local"
	registrycache "github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/executor/resources"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/session"
	containerdsnapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/leaseutil"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"go.opentelemetry.io/otel/metric/noop"
	"golang.org/x/sync/semaphore"

	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/engine/image"
)

// open makes BuildKit from its parts: a worker on our store and runtime, and the controller that drives it.
func (b *Builder) open() (_ *parts, err error) {
	if err := os.MkdirAll(b.cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	var opened []io.Closer
	defer func() {
		if err != nil {
			for _, c := range opened {
				c.Close()
			}
		}
	}()
	exec, err := newExecutor(b.runDir(), b.cfg.Runtime, b.cfg.CgroupParent, b.log)
	if err != nil {
		return nil, err
	}
	opt, err := b.workerOpt(exec)
	if err != nil {
		return nil, err
	}
	opened = append(opened, opt.MetadataStore, opt.ResourceMonitor)
	w, err := base.NewWorker(context.Background(), opt)
	if err != nil {
		return nil, err
	}
	workers := &worker.Controller{}
	if err := workers.Add(exporting{w}); err != nil {
		return nil, err
	}
	sessions, err := session.NewManager()
	if err != nil {
		return nil, err
	}
	cache, err := bboltcachestorage.NewStore(filepath.Join(b.cfg.Dir, "cache.db"))
	if err != nil {
		return nil, err
	}
	opened = append(opened, cache)
	// What was built just now need not outlive a power cut, so no build waits for the disk because of it; a file that is torn is begun anew.
	history, err := boltutil.SafeOpen(filepath.Join(b.cfg.Dir, "history.db"), 0o600,
		&bolt.Options{FreelistType: bolt.FreelistMapType, NoFreelistSync: true, NoSync: true})
	if err != nil {
		return nil, err
	}
	opened = append(opened, history)
	hosts := b.cfg.Images.RegistryHosts(image.Auth{})
	// A finished build's record keeps its result from being collected: a few are enough for "what happened just now".
	entries := int64(5)
	controller, err := control.NewController(control.Opt{
		SessionManager:            sessions,
		WorkerController:          workers,
		Frontends:                 frontends(workers),
		CacheManager:              solver.NewCacheManager(context.Background(), "local", cache, worker.NewCacheResultStorage(workers)),
		CacheStore:                cache,
		ResolveCacheExporterFuncs: cacheExporters(sessions, hosts),
		ResolveCacheImporterFuncs: cacheImporters(sessions, w.ContentStore(), hosts),
		Entitlements:              []string{"network.host"},
		MeterProvider:             noop.NewMeterProvider(),
		HistoryDB:                 history,
		HistoryConfig:             &config.HistoryConfig{MaxAge: config.Duration{Duration: 24 * time.Hour}, MaxEntries: &entries},
		LeaseManager:              w.LeaseManager(),
		ContentStore:              w.ContentStore(),
		GarbageCollect:            w.GarbageCollect,
	})
	if err != nil {
		return nil, err
	}
	doubt := newDoubt(b.cfg.Dir, b.cfg.Content.Boot(), opt.MetadataStore.DB().Update, b.log)
	return &parts{worker: w, controller: controller, sessions: sessions, exec: exec, doubt: doubt, server: newServer(controller, doubt), conns: newHandover()}, nil
}

// frontends lists the languages builds may be written in.
func frontends(workers *worker.Controller) map[string]frontend.Frontend {
	return map[string]frontend.Frontend{"dockerfile.v0": dockerfile(workers.Infos())}
}

// cacheExporters and cacheImporters list the places a build's cache may be sent to or come from: those that need no account somewhere.
func cacheExporters(sessions *session.Manager, hosts docker.RegistryHosts) map[string]remotecache.ResolveCacheExporterFunc {
	return map[string]remotecache.ResolveCacheExporterFunc{
		"inline":   inlinecache.ResolveCacheExporterFunc(),
		"local":    localcache.ResolveCacheExporterFunc(sessions),
		"registry": registrycache.ResolveCacheExporterFunc(sessions, hosts),
	}
}

func cacheImporters(sessions *session.Manager, store *containerdsnapshot.Store, hosts docker.RegistryHosts) map[string]remotecache.ResolveCacheImporterFunc {
	return map[string]remotecache.ResolveCacheImporterFunc{
		"local":    localcache.ResolveCacheImporterFunc(sessions),
		"registry": registrycache.ResolveCacheImporterFunc(sessions, store, hosts),
	}
}

// workerOpt describes a worker on the shared store.
func (b *Builder) workerOpt(exec *runner) (base.WorkerOpt, error) {
	store := b.cfg.Content
	monitor, err := resources.NewMonitor()
	if err != nil {
		return base.WorkerOpt{}, err
	}
	meta, err := metadata.NewStore(filepath.Join(b.cfg.Dir, "metadata.db"))
	if err != nil {
		return base.WorkerOpt{}, err
	}
	driver := store.LayerDriver()
	// BuildKit brings no containerd namespace in its contexts: what it is given adds it.
	blobs := containerdsnapshot.NewContentStore(store.DB().ContentStore(), content.Namespace)
	return base.WorkerOpt{
		ID:            "cuppa",
		Root:          b.cfg.Dir,
		Labels:        map[string]string{"org.mobyproject.buildkit.worker.snapshotter": driver, "org.mobyproject.buildkit.worker.executor": "cuppa"},
		Platforms:     []ocispec.Platform{platforms.Normalize(platforms.DefaultSpec())},
		GCPolicy:      cachePolicy(b.cfg.CacheBytes),
		MetadataStore: meta,
		Executor:      exec,
		// RUN steps share the network of this process: there is no pod network for what is not a pod.
		NetworkProviders: map[pb.NetMode]network.Provider{
			pb.NetMode_UNSET: network.NewHostProvider(), pb.NetMode_HOST: network.NewHostProvider(), pb.NetMode_NONE: network.NewNoneProvider(),
		},
		Snapshotter:   containerdsnapshot.NewSnapshotter(driver, store.DB().Snapshotter(driver), content.Namespace, nil),
		ContentStore:  blobs,
		Applier:       apply.NewFileSystemApplier(blobs),
		Differ:        walking.NewWalkingDiff(blobs),
		ImageStore:    b.cfg.Images.Names(),
		RegistryHosts: b.cfg.Images.RegistryHosts(image.Auth{}),
		LeaseManager:  leaseutil.WithNamespace(store.Leases(), content.Namespace),
		// The store collects by itself, in the background: a build never waits for it.
		GarbageCollect:  func(context.Context) (gc.Stats, error) { store.Collect(); return nil, nil },
		ParallelismSem:  semaphore.NewWeighted(int64(max(2, runtime.NumCPU()))),
		MountPoolRoot:   filepath.Join(b.cfg.Dir, "mounts"),
		ResourceMonitor: monitor,
	}, nil
}

// cachePolicy says what goes first when the cache grows beyond its bound: what is quickly made again, then what is old, then the rest.
func cachePolicy(bytes int64) []client.PruneInfo {
	return []client.PruneInfo{
		{Filter: []string{"type==source.local", "type==exec.cachemount", "type==source.git.checkout"}, KeepDuration: 48 * time.Hour, MaxUsedSpace: min(bytes, 512<<20)},
		{KeepDuration: 60 * 24 * time.Hour, MaxUsedSpace: bytes},
		{MaxUsedSpace: bytes},
		{All: true, MaxUsedSpace: bytes},
	}
}
