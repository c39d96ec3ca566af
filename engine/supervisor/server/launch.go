//go:build cgo

package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// launch mounts the root and runs the first process. After a failure nothing is left but the pipes' folder.
func (s *Server) launch(c *ctr) (pid int, err error) {
	// More at once than there are processors only get into each other's way, and take a thread each.
	s.starts <- struct{}{}
	defer func() { <-s.starts }()
	id := c.spec.ID
	root := s.rootDir(id)
	if err := os.MkdirAll(root, 0o711); err != nil {
		return 0, fmt.Errorf("make root folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release(c))
		}
	}()
	if err := mountAll(root, c.spec.RootFS); err != nil {
		return 0, err
	}
	if err := s.mountImages(c); err != nil {
		return 0, err
	}
	s.reached(stepMounted)
	if err := s.fromImage(c, root); err != nil {
		return 0, err
	}
	spec, err := s.runnable(c)
	if err != nil {
		return 0, err
	}
	config, err := translateConfig(id, spec, c.filter)
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(s.runcDir(), 0o700); err != nil {
		return 0, fmt.Errorf("make runtime folder: %w", err)
	}
	c.runc, err = libcontainer.Create(s.runcDir(), id, config)
	if err != nil {
		return 0, err
	}
	if c.cgroup, err = manager.New(config.Cgroups); err != nil {
		return 0, err
	}
	s.reached(stepMade)
	return s.runInit(c, spec.Process)
}

// translateConfig makes libcontainer's configuration, with the compiled filter where our loader looks for it.
func translateConfig(id string, spec *specs.Spec, filter string) (*configs.Config, error) {
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: id, Spec: spec})
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "container %q: %w", id, err)
	}
	if filter != "" {
		config.Seccomp = &configs.Seccomp{DefaultAction: configs.Allow, ListenerMetadata: filter}
	}
	return config, nil
}

// fromImage does what needs the image's files: looks up the user and fills volumes. The user found is kept for later processes.
func (s *Server) fromImage(c *ctr, root string) error {
	for _, f := range c.spec.Fills {
		if err := s.filler.Fill(root, f.From, f.To); err != nil {
			return fmt.Errorf("fill volume from %s: %w", f.From, err)
		}
	}
	if c.spec.User == "" {
		return nil
	}
	process := *c.oci().Process
	user, err := lookUp(root, c.spec.User, process.User.AdditionalGids, c.spec.StrictGroups)
	if err != nil {
		return err
	}
	process.User, c.spec.User = user, ""
	oci := *c.oci()
	oci.Process = &process
	c.setOCI(&oci)
	return s.saveSpec(c)
}

// runnable completes the specification: its root, and the reaper in front of its process.
func (s *Server) runnable(c *ctr) (*specs.Spec, error) {
	spec := *c.oci()
	root := specs.Root{}
	if spec.Root != nil {
		root = *spec.Root
	}
	root.Path = s.rootDir(c.spec.ID)
	spec.Root = &root
	spec.Mounts = s.withImages(c, spec.Mounts)
	process := *spec.Process
	process.Terminal = c.spec.Terminal
	if process.OOMScoreAdj == nil {
		process.OOMScoreAdj = &s.rights.oomScoreAdj // not ours, which may be better
	}
	if process.Cwd == "" {
		process.Cwd = "/"
	}
	if c.spec.Init {
		source, err := s.reaper()
		if err != nil {
			return nil, err
		}
		const inside = "/dev/cuppa-init"
		spec.Mounts = append(append([]specs.Mount{}, spec.Mounts...), specs.Mount{Destination: inside, Type: "bind",
			Source: source, Options: []string{"bind", "ro", "nosuid"}})
		process.Args = append([]string{inside, "reap"}, process.Args...)
	}
	spec.Process = &process
	return &spec, nil
}

// reaper returns the path of a copy of this program that can be bind-mounted, which the sealed memory it runs from cannot.
func (s *Server) reaper() (string, error) {
	path := filepath.Join(s.cfg.RunDir, "reap")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("read own program: %w", err)
	}
	tmp, err := os.CreateTemp(s.cfg.RunDir, "reap-")
	if err != nil {
		return "", fmt.Errorf("write reaper: %w", err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o555), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return "", fmt.Errorf("write reaper: %w", err)
	}
	return path, nil
}
