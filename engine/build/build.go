// Package build makes images from Dockerfiles: BuildKit as a library, on the engine's own store and its own containers.
//
// What is built lies in the shared store and can be run at once. Clients speak BuildKit's control API over any connection (ServeConn);
// the Dockerfile frontend is built in, so that no image is needed to build one. Nothing outside this package links BuildKit's
// daemon side. Start with Builder, then open.go for the parts and executor.go for RUN.
package build

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/worker/base"
	"google.golang.org/grpc"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/content"
	"github.com/cuppa-project/cuppa/engine/image"
	"github.com/cuppa-project/cuppa/engine/snapshot"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// Config names what a Builder stands on.
type Config struct {
	Dir     string // of the cache's databases
	Content *content.Store
	Images  *image.Store
	Runtime container.Runtime // runs the RUN steps

	// CacheBytes bounds what the cache may take on the disk; 0: a tenth of it, 10 GiB at most.
	CacheBytes int64
	// CgroupParent is the cgroup below which RUN steps get theirs; "": "cuppa".
	CgroupParent string
	Logger       *slog.Logger // nil: slog.Default()
}

// Builder builds images. It opens its databases with the first build: most of the time nobody builds.
type Builder struct {
	cfg Config
	log *slog.Logger

	mu     sync.Mutex
	parts  *parts // nil until the first use
	swept  bool   // what a killed build left behind is gone
	closed bool
}

// parts is an open BuildKit.
type parts struct {
	worker     *base.Worker
	controller *control.Controller
	sessions   *session.Manager
	exec       *runner
	doubt      *doubt
	server     *grpc.Server
	conns      *handover
	serving    sync.WaitGroup
}

// New returns a Builder. It opens nothing.
func New(cfg Config) (*Builder, error) {
	if cfg.Content == nil || cfg.Images == nil || cfg.Runtime == nil {
		return nil, errkind.New(errkind.Invalid, "make builder: a part is missing")
	}
	if cfg.CgroupParent == "" {
		cfg.CgroupParent = "cuppa"
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 10 << 30
		if room, err := snapshot.Room(cfg.Content.Dir()); err == nil {
			cfg.CacheBytes = min(cfg.CacheBytes, int64(room.Total/10))
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Builder{cfg: cfg, log: cfg.Logger}, nil
}

// get opens BuildKit if that has not been done.
func (b *Builder) get() (*parts, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errkind.New(errkind.Unavailable, "the builder is stopping")
	}
	if b.parts != nil {
		return b.parts, nil
	}
	if err := snapshot.Require(b.cfg.Content.Dir(), 0); err != nil {
		return nil, err
	}
	if err := b.sweep(context.Background()); err != nil {
		return nil, err
	}
	p, err := b.open()
	if err != nil {
		return nil, content.Wrap(err, "open builder")
	}
	b.parts = p
	p.serving.Go(func() { p.server.Serve(p.conns) })
	return p, nil
}

// Open makes sure that builds can begin; the first use costs some time.
func (b *Builder) Open() error {
	if err := snapshot.Require(b.cfg.Content.Dir(), 0); err != nil {
		return err
	}
	_, err := b.get()
	return err
}

// ServeConn speaks the control API on one connection until it ends or ctx does.
func (b *Builder) ServeConn(ctx context.Context, conn net.Conn) error {
	p, err := b.get()
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	watched := &closing{Conn: conn, ended: ended}
	if err := p.conns.give(ctx, watched); err != nil {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		conn.Close()
		return ctx.Err()
	}
}

// ServeSession takes over a request that opens a build session on a connection of its own.
func (b *Builder) ServeSession(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	p, err := b.get()
	if err != nil {
		return err
	}
	return p.sessions.HandleHTTPRequest(ctx, w, r)
}

// Prune empties the cache of what no build uses at present, and returns the bytes freed; all includes what BuildKit keeps for itself.
func (b *Builder) Prune(ctx context.Context, all bool) (int64, error) {
	p, err := b.get()
	if err != nil {
		return 0, err
	}
	var freed int64
	usage := make(chan client.UsageInfo)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for u := range usage {
			freed += u.Size
		}
	}()
	err = p.worker.Prune(ctx, usage, client.PruneInfo{All: all})
	close(usage)
	<-counted
	b.cfg.Content.Collect()
	return freed, content.Wrap(err, "prune build cache")
}

// runDir is where steps that run have their roots mounted.
func (b *Builder) runDir() string { return filepath.Join(b.cfg.Dir, "run") }

// sweep clears, once, what a killed build left behind; the caller holds the lock.
func (b *Builder) sweep(ctx context.Context) error {
	if b.swept {
		return nil
	}
	if err := sweep(ctx, b.runDir(), b.cfg.Runtime); err != nil {
		return content.Wrap(err, "clear interrupted builds")
	}
	if err := sweepMounts(b.cfg.Content.LayerDir()); err != nil {
		return content.Wrap(err, "clear interrupted builds")
	}
	if err := b.dropTorn(ctx); err != nil {
		return content.Wrap(err, "clear build cache")
	}
	b.swept = true
	return nil
}

// dropTorn has the cache begin anew if a crash of the machine tore it, or layers that it refers to.
func (b *Builder) dropTorn(ctx context.Context) error {
	doubtful, err := torn(b.cfg.Dir, b.cfg.Content.Boot())
	if err != nil {
		return err
	}
	if !doubtful && !b.cfg.Content.Torn() {
		return nil
	}
	b.log.Warn("the machine stopped while the build cache was being written: builds begin without it")
	if err := dropLeases(ctx, b.cfg.Content); err != nil {
		return err
	}
	return os.RemoveAll(b.cfg.Dir)
}

// Run lets builds happen until ctx ends, then breaks off those that run and closes the databases. It returns when all is closed.
func (b *Builder) Run(ctx context.Context) error {
	b.mu.Lock()
	if err := b.sweep(ctx); err != nil && ctx.Err() == nil {
		b.log.Error("interrupted builds were not cleared", "err", err) // the next build tries again
	}
	b.mu.Unlock()
	<-ctx.Done()
	return errors.Join(ctx.Err(), b.Close())
}

// Close ends all builds. A Builder that was closed refuses new ones.
func (b *Builder) Close() error {
	b.mu.Lock()
	p := b.parts
	b.parts, b.closed = nil, true
	b.mu.Unlock()
	if p == nil {
		return nil
	}
	p.server.Stop()
	p.conns.Close()
	p.serving.Wait()
	p.exec.stop()
	p.doubt.close()
	return content.Wrap(p.controller.Close(), "close builder")
}

// newServer is the gRPC server of the control API. The interceptors carry BuildKit's typed errors, and with them the lines of the
// Dockerfile they are about.
func newServer(c *control.Controller, d *doubt) *grpc.Server {
	const largest = 16 << 20 // as BuildKit's clients expect
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(grpcerrors.UnaryServerInterceptor, d.around), grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(largest), grpc.MaxSendMsgSize(largest))
	c.Register(server)
	return server
}
