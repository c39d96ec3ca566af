package build

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"
	containerdoci "github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/oci"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// runner is BuildKit's executor: it runs each RUN step as a container of the engine's runtime.
type runner struct {
	dir     string
	runtime container.Runtime
	cgroup  string
	log     *slog.Logger

	mu      sync.Mutex
	running map[string]bool
}

// idPrefix marks the containers of builds among the others.
const idPrefix = "build-"

// newExecutor makes the executor, and clears what a killed build left behind.
func newExecutor(dir string, runtime container.Runtime, cgroup string, log *slog.Logger) (*runner, error) {
	r := &runner{dir: dir, runtime: runtime, cgroup: cgroup, log: log, running: map[string]bool{}}
	if err := r.sweep(context.Background()); err != nil {
		return nil, err
	}
	return r, os.MkdirAll(dir, 0o711)
}

// sweep removes the containers and mounts of steps that an earlier life of this program did not end.
func (r *runner) sweep(ctx context.Context) error {
	entries, err := os.ReadDir(r.dir)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := r.runtime.Delete(ctx, idPrefix+entry.Name(), true); err != nil {
			return fmt.Errorf("remove container of an interrupted build step: %w", err)
		}
		if err := mount.UnmountAll(filepath.Join(r.dir, entry.Name(), "rootfs"), syscall.MNT_DETACH); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("unmount root of an interrupted build step: %w", err)
		}
	}
	return os.RemoveAll(r.dir)
}

// Run implements executor.Executor.
func (r *runner) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{}) (_ resourcestypes.Recorder, err error) {
	if id == "" {
		id = identity.NewID()
	}
	if err := executor.ValidContainerID(id); err != nil {
		return nil, err
	}
	begun := sync.OnceFunc(func() {
		if started != nil {
			close(started)
		}
	})
	defer begun() // whoever waits for the start must not wait for ever
	step, err := r.prepare(ctx, id, root, mounts, process.Meta)
	if err != nil {
		return nil, err
	}
	defer step.cleanup()
	return nil, r.run(ctx, step, process, begun)
}

// run takes one prepared container from its creation to its end.
func (r *runner) run(ctx context.Context, step *step, process executor.ProcessInfo, begun func()) error {
	name := idPrefix + step.id
	unkillable := context.WithoutCancel(ctx)
	if err := r.runtime.Create(ctx, container.Spec{
		ID: name, OCI: step.spec, Terminal: process.Meta.Tty, OpenStdin: process.Stdin != nil, StdinOnce: true,
		RootFS: []container.Mount{{Type: "bind", Source: step.root, Options: []string{"rbind", "rw"}}},
	}); err != nil {
		return err
	}
	defer func() {
		if err := r.runtime.Delete(unkillable, name, true); err != nil {
			r.log.Error("container of a build step was not removed", "container", name, "err", err)
		}
	}()
	attached, detached := make(chan struct{}), make(chan error, 1)
	go func() {
		streams := streams(process)
		streams.Attached = sync.OnceFunc(func() { close(attached) })
		detached <- r.runtime.Attach(unkillable, name, streams)
	}()
	select {
	case <-attached:
	case err := <-detached:
		return errkind.New(errkind.Unavailable, "attach to build step: %v", err)
	}
	if err := r.runtime.Start(ctx, name); err != nil {
		_ = r.runtime.Delete(unkillable, name, true) // ends the attachment
		<-detached
		return &gatewayapi.ExitError{ExitCode: gatewayapi.UnknownExitStatus, Err: err}
	}
	r.mark(step.id, true)
	defer r.mark(step.id, false)
	begun()
	stop := context.AfterFunc(ctx, func() { _ = r.runtime.Signal(unkillable, name, int(syscall.SIGKILL), true) })
	defer stop()
	stopSignals := r.forward(unkillable, name, process.Signal)
	defer stopSignals()
	status, err := r.runtime.Wait(unkillable, name)
	if err != nil {
		_ = r.runtime.Delete(unkillable, name, true)
		<-detached
		return err
	}
	<-detached // all output has arrived
	return exitError(ctx, status, process.Meta.ValidExitCodes)
}

// Exec implements executor.Executor: a further process in a step that runs, for interactive clients.
func (r *runner) Exec(ctx context.Context, id string, process executor.ProcessInfo) error {
	r.mu.Lock()
	running := r.running[id]
	r.mu.Unlock()
	if !running {
		return errkind.New(errkind.NotFound, "build step %s does not run", id)
	}
	code, err := r.runtime.Exec(ctx, idPrefix+id, container.Process{
		Args: process.Meta.Args, Env: process.Meta.Env, Dir: process.Meta.Cwd, User: process.Meta.User, Terminal: process.Meta.Tty,
	}, streams(process))
	if err != nil {
		return err
	}
	return exitError(ctx, container.Status{ExitCode: code}, process.Meta.ValidExitCodes)
}

func (r *runner) mark(id string, running bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if running {
		r.running[id] = true
	} else {
		delete(r.running, id)
	}
}

// forward passes a client's signals on until the returned function is called.
func (r *runner) forward(ctx context.Context, name string, signals <-chan syscall.Signal) (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case sig, ok := <-signals:
				if !ok {
					return
				}
				_ = r.runtime.Signal(ctx, name, int(sig), false) // it may just have ended
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

func streams(p executor.ProcessInfo) container.Streams {
	s := container.Streams{}
	if p.Stdin != nil {
		s.Stdin = p.Stdin
	}
	if p.Stdout != nil {
		s.Stdout = p.Stdout
	}
	if p.Stderr != nil {
		s.Stderr = p.Stderr
	}
	if p.Resize != nil {
		sizes := make(chan container.Size)
		s.Resize = sizes
		go func() {
			defer close(sizes)
			for size := range p.Resize {
				sizes <- container.Size{Width: uint16(size.Cols), Height: uint16(size.Rows)}
			}
		}()
	}
	return s
}

// exitError turns how a process ended into the error that BuildKit expects, or nil.
func exitError(ctx context.Context, status container.Status, valid []int) error {
	if valid == nil {
		valid = []int{0}
	}
	if slices.Contains(valid, status.ExitCode) {
		return nil
	}
	exit := &gatewayapi.ExitError{ExitCode: uint32(status.ExitCode)}
	switch {
	case ctx.Err() != nil:
		exit.Err = fmt.Errorf("%w: %w", context.Cause(ctx), exit)
	case status.OOMKilled:
		exit.Err = fmt.Errorf("%w: the kernel killed it for lack of memory", syscall.ENOMEM)
	}
	return exit
}

// step is one prepared container.
type step struct {
	id       string
	root     string // where its file system is mounted
	spec     *specs.Spec
	cleanups []func()
}

func (s *step) cleanup() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

// prepare mounts a step's root and writes its specification.
func (r *runner) prepare(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, meta executor.Meta) (_ *step, err error) {
	s := &step{id: id, root: filepath.Join(r.dir, id, "rootfs")}
	defer func() {
		if err != nil {
			s.cleanup()
		}
	}()
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		return nil, err
	}
	s.cleanups = append(s.cleanups, func() { os.RemoveAll(filepath.Join(r.dir, id)) })
	if err := r.mountRoot(ctx, s, root); err != nil {
		return nil, err
	}
	s.cleanups = append(s.cleanups, executor.MountStubsCleaner(context.WithoutCancel(ctx), s.root, mounts, meta.RemoveMountStubsRecursive))
	uid, gid, groups, err := oci.GetUser(s.root, meta.User)
	if err != nil {
		return nil, err
	}
	if err := makeWorkDir(s.root, meta.Cwd, int(uid), int(gid)); err != nil {
		return nil, err
	}
	opts := []containerdoci.SpecOpts{oci.WithUIDGID(uid, gid, groups)}
	if meta.ReadonlyRootFS {
		opts = append(opts, containerdoci.WithRootFSReadonly())
	}
	if err := r.specify(ctx, s, mounts, meta, opts); err != nil {
		return nil, err
	}
	if root.Readonly {
		s.spec.Root.Readonly = true
	}
	return s, nil
}

func (r *runner) mountRoot(ctx context.Context, s *step, root executor.Mount) error {
	mountable, err := root.Src.Mount(ctx, false)
	if err != nil {
		return err
	}
	mounts, release, err := mountable.Mount()
	if err != nil {
		return err
	}
	if release != nil {
		s.cleanups = append(s.cleanups, func() { _ = release() })
	}
	if err := mount.All(mounts, s.root); err != nil {
		return fmt.Errorf("mount root of build step: %w", err)
	}
	s.cleanups = append(s.cleanups, func() {
		if err := mount.UnmountAll(s.root, 0); err != nil {
			r.log.Error("root of a build step was not unmounted", "dir", s.root, "err", err)
			_ = mount.UnmountAll(s.root, syscall.MNT_DETACH)
		}
	})
	return nil
}

// specify writes the OCI specification.
func (r *runner) specify(ctx context.Context, s *step, mounts []executor.Mount, meta executor.Meta, opts []containerdoci.SpecOpts) error {
	dir, err := os.OpenRoot(r.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	// The step sees the network as this process does: so it may use name servers on the loopback too, which the "host" mode keeps.
	resolv, err := oci.GetResolvConf(ctx, dir, nil, nil, pb.NetMode_HOST)
	if err != nil {
		return err
	}
	hosts, clean, err := oci.GetHostsFile(ctx, dir, meta.ExtraHosts, nil, meta.Hostname)
	if err != nil {
		return err
	}
	if clean != nil {
		s.cleanups = append(s.cleanups, clean)
	}
	net, err := networkOf(ctx, meta)
	if err != nil {
		return err
	}
	spec, cleanup, err := oci.GenerateSpec(ctx, meta, mounts, s.id, filepath.Join(r.dir, resolv), filepath.Join(r.dir, hosts), net, r.cgroup,
		oci.ProcessSandbox, nil, "", false, "", nil, opts...)
	if err != nil {
		return err
	}
	s.cleanups = append(s.cleanups, cleanup)
	spec.Process.Terminal = meta.Tty
	// Builds have no use for the view of their cgroup, which takes milliseconds to mount.
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool { return m.Type == "cgroup" })
	s.spec = spec
	return nil
}

// networkOf is the network a step gets: that of this process, or none but the loopback.
func networkOf(ctx context.Context, meta executor.Meta) (network.Namespace, error) {
	provider := network.NewHostProvider()
	if meta.NetMode == pb.NetMode_NONE {
		provider = network.NewNoneProvider()
	}
	return provider.New(ctx, meta.Hostname, network.NamespaceOptions{})
}

// makeWorkDir makes the directory a step starts in, following links inside the root only.
func makeWorkDir(root, cwd string, uid, gid int) error {
	path, err := fs.RootPath(root, cwd)
	if err != nil {
		return fmt.Errorf("working directory %s points to an invalid target: %w", cwd, err)
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make working directory: %w", err)
	}
	return os.Chown(path, uid, gid)
}
