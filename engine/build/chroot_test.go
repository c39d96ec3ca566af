package build

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// chroot is just enough of a runtime to test builds without the supervisor: a process in a root directory, without namespaces.
type chroot struct {
	container.Runtime // what builds do not call stays nil

	t  testing.TB
	mu sync.Mutex
	by map[string]*jailed
}

type jailed struct {
	spec    container.Spec
	cmd     *exec.Cmd
	binds   []string
	started chan struct{}
	done    chan struct{}
	status  container.Status
}

func newChroot(t testing.TB) *chroot { return &chroot{t: t, by: map[string]*jailed{}} }

func (c *chroot) get(id string) *jailed {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[id]
}

func (c *chroot) Create(_ context.Context, spec container.Spec) error {
	j := &jailed{spec: spec, started: make(chan struct{}), done: make(chan struct{})}
	root := spec.RootFS[0].Source
	p := spec.OCI.Process
	path := p.Args[0]
	if !strings.Contains(path, "/") {
		path = "/bin/" + path
	}
	j.cmd = &exec.Cmd{Path: path, Args: p.Args, Env: p.Env, Dir: p.Cwd, SysProcAttr: &syscall.SysProcAttr{
		Chroot: root, Credential: &syscall.Credential{Uid: p.User.UID, Gid: p.User.GID}, Setpgid: true}}
	for _, m := range spec.OCI.Mounts {
		if m.Type != "bind" {
			continue
		}
		target := filepath.Join(root, m.Destination)
		if info, err := os.Stat(m.Source); err != nil || !info.IsDir() {
			continue // files such as resolv.conf: the tests do not read them
		}
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := (&mount.Mount{Type: "bind", Source: m.Source, Options: []string{"rbind"}}).Mount(target); err != nil {
			return err
		}
		j.binds = append(j.binds, target)
	}
	c.mu.Lock()
	c.by[spec.ID] = j
	c.mu.Unlock()
	return nil
}

func (c *chroot) Attach(_ context.Context, id string, s container.Streams) error {
	j := c.get(id)
	j.cmd.Stdout, j.cmd.Stderr = s.Stdout, s.Stderr
	s.Attached()
	<-j.done
	return nil
}

func (c *chroot) Start(_ context.Context, id string) error {
	j := c.get(id)
	if err := j.cmd.Start(); err != nil {
		return errkind.New(errkind.Invalid, "start: %w", err)
	}
	go func() {
		err := j.cmd.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			j.status.ExitCode = exit.ExitCode()
		}
		close(j.done)
	}()
	close(j.started)
	return nil
}

func (c *chroot) Signal(_ context.Context, id string, sig int, _ bool) error {
	return syscall.Kill(-c.get(id).cmd.Process.Pid, syscall.Signal(sig))
}

func (c *chroot) Wait(_ context.Context, id string) (container.Status, error) {
	j := c.get(id)
	<-j.done
	return j.status, nil
}

func (c *chroot) Delete(_ context.Context, id string, _ bool) error {
	c.mu.Lock()
	j := c.by[id]
	delete(c.by, id)
	c.mu.Unlock()
	if j == nil {
		return nil
	}
	for _, target := range j.binds {
		if err := mount.UnmountAll(target, 0); err != nil {
			c.t.Error(err)
		}
	}
	select {
	case <-j.started:
	default:
		close(j.done) // it never ran
	}
	return nil
}
