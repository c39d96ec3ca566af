//go:build cgo

package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/supervisor/wire"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// group is what the containers of a pod share.
type group struct {
	Spec container.NamespaceSpec
	Made container.Namespaces
	done chan struct{} // closed when it is made; nil after a restart
}

func (s *Server) nsDir(id string) string { return filepath.Join(s.cfg.RunDir, "ns", id) }

func (s *Server) makeNamespaces(_ context.Context, spec container.NamespaceSpec) (any, error) {
	if err := validID(spec.ID); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil, errkind.New(errkind.Unavailable, "supervisor is shutting down")
	}
	if g, ok := s.namespaces[spec.ID]; ok {
		s.mu.Unlock()
		if g.done != nil {
			<-g.done
		}
		if g.Made == (container.Namespaces{}) && (spec.IPC || spec.UTS) {
			return nil, errkind.New(errkind.Unavailable, "namespaces of %q could not be made", spec.ID)
		}
		if spec.Cgroup != "" && spec.Cgroup == g.Spec.Cgroup && spec.Resources != nil {
			return g.Made, makeCgroup(spec) // its limits may have changed
		}
		return g.Made, nil
	}
	s.warm.soon()
	g := &group{Spec: spec, done: make(chan struct{})}
	s.namespaces[spec.ID] = g
	s.noteCgroup(spec.Cgroup)
	s.mu.Unlock()
	defer close(g.done)
	made, err := s.unshare(spec)
	if err == nil && spec.Cgroup != "" {
		err = makeCgroup(spec)
	}
	if err == nil && spec.ShmSize > 0 {
		made.Shm, err = s.makeShm(spec)
	}
	if err == nil {
		g.Made = made
		err = writeJSON(filepath.Join(s.nsDir(spec.ID), "group.json"), g)
	}
	if err != nil {
		g.Made = container.Namespaces{}
		_, undo := s.removeNamespaces(context.Background(), wire.ID{ID: spec.ID})
		return nil, errors.Join(err, undo)
	}
	return made, nil
}

// unshare makes the namespaces in a thread of its own and binds them to files; the thread ends, the files hold them.
func (s *Server) unshare(spec container.NamespaceSpec) (container.Namespaces, error) {
	dir := s.nsDir(spec.ID)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return container.Namespaces{}, fmt.Errorf("make namespace folder: %w", err)
	}
	made, flags := container.Namespaces{}, 0
	binds := map[string]string{}
	if spec.IPC {
		flags |= unix.CLONE_NEWIPC
		made.IPC = filepath.Join(dir, "ipc")
		binds["ipc"] = made.IPC
	}
	if spec.UTS {
		flags |= unix.CLONE_NEWUTS
		made.UTS = filepath.Join(dir, "uts")
		binds["uts"] = made.UTS
	}
	if flags == 0 {
		return made, nil
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread with the goroutine
		done <- func() error {
			if err := unix.Unshare(flags); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if spec.UTS && spec.Hostname != "" {
				if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
					return fmt.Errorf("set host name: %w", err)
				}
			}
			for kind, path := range binds {
				f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
				if err != nil {
					return fmt.Errorf("make namespace file: %w", err)
				}
				f.Close()
				if err := unix.Mount("/proc/thread-self/ns/"+kind, path, "", unix.MS_BIND, ""); err != nil {
					return fmt.Errorf("bind namespace: %w", err)
				}
			}
			return nil
		}()
	}()
	return made, <-done
}

// makeShm mounts the shared memory file system.
func (s *Server) makeShm(spec container.NamespaceSpec) (string, error) {
	dir := filepath.Join(s.nsDir(spec.ID), "shm")
	if err := os.MkdirAll(dir, 0o1777); err != nil {
		return "", fmt.Errorf("make shared memory: %w", err)
	}
	data := fmt.Sprintf("mode=1777,size=%d", spec.ShmSize)
	if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
		return "", fmt.Errorf("mount shared memory: %w", err)
	}
	return dir, nil
}

// makeCgroup makes a pod's cgroup with its limits.
func makeCgroup(spec container.NamespaceSpec) error {
	m, err := cgroupManager(spec)
	if err != nil {
		return err
	}
	if err := m.Apply(-1); err != nil {
		return fmt.Errorf("make cgroup %s: %w", spec.Cgroup, err)
	}
	if spec.Resources == nil {
		return nil
	}
	if err := m.Set(nil); err != nil {
		return fmt.Errorf("set limits of cgroup %s: %w", spec.Cgroup, err)
	}
	return nil
}

// noteCgroup remembers the parents of a cgroup, for shutdown to remove; its caller holds mu.
func (s *Server) noteCgroup(path string) {
	for dir := filepath.Dir(path); filepath.IsAbs(dir) && dir != "/"; dir = filepath.Dir(dir) {
		s.parents[dir] = true
	}
}

// removeParents removes the cgroups that were made only to hold others. Those in use by anybody else stay, as the kernel sees to.
func (s *Server) removeParents() {
	dirs := keys(s.parents)
	slices.SortFunc(dirs, func(a, b string) int { return len(b) - len(a) })
	roots, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil {
		return
	}
	for _, dir := range dirs {
		unix.Rmdir(filepath.Join("/sys/fs/cgroup", dir))
		for _, root := range roots {
			unix.Rmdir(filepath.Join(filepath.Dir(root), dir))
		}
	}
}

func cgroupManager(spec container.NamespaceSpec) (cgroups.Manager, error) {
	if !filepath.IsAbs(spec.Cgroup) {
		return nil, errkind.New(errkind.Invalid, "cgroup %q must be an absolute path", spec.Cgroup)
	}
	cg, err := specconv.CreateCgroupConfig(&specconv.CreateOpts{
		CgroupName: spec.ID,
		Spec:       &specs.Spec{Linux: &specs.Linux{CgroupsPath: spec.Cgroup, Resources: spec.Resources}},
	}, nil)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "limits of cgroup %s: %w", spec.Cgroup, err)
	}
	cg.Resources.SkipDevices = true
	return manager.New(cg)
}

func (s *Server) removeNamespaces(_ context.Context, in wire.ID) (any, error) {
	if err := validID(in.ID); err != nil {
		return nil, err
	}
	s.mu.Lock()
	g := s.namespaces[in.ID]
	s.mu.Unlock()
	dir := s.nsDir(in.ID)
	var errs []error
	for _, name := range []string{"ipc", "uts", "shm"} {
		if err := unmountAll(filepath.Join(dir, name)); err != nil {
			errs = append(errs, err)
		}
	}
	if g != nil && g.Spec.Cgroup != "" {
		m, err := cgroupManager(g.Spec)
		if err == nil {
			err = m.Destroy()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", g.Spec.Cgroup, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("remove namespace folder: %w", err)
	}
	s.mu.Lock()
	delete(s.namespaces, in.ID)
	s.mu.Unlock()
	return nil, nil
}
