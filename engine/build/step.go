package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"
	containerdoci "github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/opencontainers/runtime-spec/specs-go"
)

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
	s.cleanups = append(s.cleanups, func() { removeMountPoints(spec.Mounts) }, cleanup)
	spec.Process.Terminal = meta.Tty
	spec.Linux.CgroupsPath = filepath.Join("/", r.cgroup, idPrefix+s.id)
	// Builds have no use for the view of their cgroup, which takes milliseconds to mount.
	spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m specs.Mount) bool { return m.Type == "cgroup" })
	s.spec = spec
	return nil
}

// removeMountPoints removes the folders that BuildKit makes for single files it mounts, and forgets. Only empty ones go.
func removeMountPoints(mounts []specs.Mount) {
	for _, m := range mounts {
		dir := filepath.Dir(m.Source)
		if filepath.Base(m.Source) == "file" && filepath.Dir(dir) == filepath.Clean(os.TempDir()) && strings.HasPrefix(filepath.Base(dir), mountPointPrefix) {
			_ = os.Remove(dir)
		}
	}
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
