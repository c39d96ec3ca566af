package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// labelSandbox ties the runtime's container to its pod.
const labelSandbox = "engine.cuppa.dev/sandbox"

func formatID(n int64) string { return strconv.FormatInt(n, 10) }

func pidNamespace(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/ns/pid" }

// CreateContainer implements RuntimeService. A second call for the same name and attempt in a pod returns the container that is there.
func (s *Service) CreateContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	return s.makeContainer(ctx, sandboxID, config, extras.Container{})
}

func (s *Service) makeContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, asked extras.Container) (string, error) {
	if config.GetMetadata().GetName() == "" || config.GetImage().GetImage() == "" {
		return "", errkind.New(errkind.Invalid, "a container needs a name and an image")
	}
	b, err := s.findSandbox(sandboxID)
	if err != nil {
		return "", err
	}
	b.op.Lock()
	defer b.op.Unlock()
	if b.State != sandboxReady {
		return "", errkind.New(errkind.Precondition, "pod sandbox %s is not ready", sandboxID)
	}
	for _, other := range s.containersOf(sandboxID) {
		if proto.Equal(other.Config.Metadata, config.Metadata) {
			return other.ID, nil
		}
	}
	c := &ctr{containerRecord: containerRecord{ID: newID(), SandboxID: sandboxID, Config: config, CreatedAt: time.Now(),
		ImageRef: config.Image.Image, Terminal: config.Tty}}
	if config.LogPath != "" && b.Config.LogDirectory != "" {
		c.LogPath = filepath.Join(b.Config.LogDirectory, config.LogPath)
	}
	s.mu.Lock()
	s.making[c.ID] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.making, c.ID)
		s.mu.Unlock()
	}()
	if err := s.createContainer(ctx, b, c, asked); err != nil {
		undo := errors.Join(s.removeRoots(context.WithoutCancel(ctx), c.ID, len(imageVolumes(config))), os.RemoveAll(s.containerDir(c.ID)))
		return "", errors.Join(fmt.Errorf("create container %q: %w", config.Metadata.Name, err), undo)
	}
	s.mu.Lock()
	s.containers[c.ID] = c
	s.mu.Unlock()
	return c.ID, nil
}

func (s *Service) createContainer(ctx context.Context, b *sandbox, c *ctr, asked extras.Container) error {
	image, err := s.images.Image(ctx, c.Config.Image.Image)
	if err != nil {
		return err
	}
	c.ImageID = image.ID
	spec, err := s.containerSpec(ctx, b, c, image, asked)
	if err != nil {
		return err
	}
	// The record comes first: whatever is made after it can be found and removed after a crash.
	if err := writeRecord(s.containerDir(c.ID), c.containerRecord); err != nil {
		return err
	}
	if spec.RootFS, err = s.images.PrepareRootFS(ctx, c.ID, image.ID); err != nil {
		return fmt.Errorf("prepare root file system: %w", err)
	}
	if spec.Images, err = s.prepareImages(ctx, c); err != nil {
		return err
	}
	if len(spec.Images) > 0 {
		spec.Labels[labelImages] = strconv.Itoa(len(spec.Images))
	}
	return s.runtime.Create(ctx, spec)
}

// containerSpec describes a container to the runtime, but for its root.
func (s *Service) containerSpec(ctx context.Context, b *sandbox, c *ctr, image Image, x extras.Container) (container.Spec, error) {
	var (
		out container.Spec
		err error
	)
	if c.StopSignal, err = stopSignal(c.Config, image, x); err != nil {
		return out, err
	}
	sc := c.Config.GetLinux().GetSecurityContext()
	dir := s.sandboxDir(b.ID)
	in := specInput{host: s.host, pod: &b.sandboxRecord, id: c.ID, config: c.Config, image: image, extras: x, seccomp: s.seccompFor(sc),
		files: podFiles{hostname: filepath.Join(dir, "hostname"), resolvConf: filepath.Join(dir, "resolv.conf"),
			hosts: filepath.Join(dir, "hosts")}}
	if in.devices, err = findDevices(slices.Concat(c.Config.Devices, extraDevices(x.Devices)), sc.GetPrivileged()); err != nil {
		return out, err
	}
	if err := s.pidNamespaces(ctx, b, sc, &in); err != nil {
		return out, err
	}
	if err := makeSources(c.Config.Mounts); err != nil {
		return out, err
	}
	out = container.Spec{ID: c.ID, Labels: map[string]string{labelSandbox: b.ID, "engine.cuppa.dev/name": c.Config.Metadata.Name},
		Terminal: c.Config.Tty, OpenStdin: c.Config.Stdin, StdinOnce: c.Config.StdinOnce, LogPath: c.LogPath,
		LogSize: s.cfg.LogSize, LogKeep: s.cfg.LogKeep, Init: x.Init,
		StrictGroups: sc.GetSupplementalGroupsPolicy() == runtimeapi.SupplementalGroupsPolicy_Strict}
	if out.User, err = userText(sc, image); err != nil {
		return out, err
	}
	if x.User != "" {
		out.User = x.User
	}
	if out.OCI, err = makeSpec(in); err != nil {
		return out, err
	}
	for _, m := range c.Config.Mounts {
		if slices.Contains(x.Fill, m.ContainerPath) {
			out.Fills = append(out.Fills, container.Fill{From: m.ContainerPath, To: m.HostPath})
		}
	}
	c.Env = out.OCI.Process.Env
	return out, nil
}

// pidNamespaces finds the processes whose pid namespaces the container joins.
func (s *Service) pidNamespaces(ctx context.Context, b *sandbox, sc *runtimeapi.LinuxContainerSecurityContext, in *specInput) error {
	options := sc.GetNamespaceOptions()
	if options.GetPid() == runtimeapi.NamespaceMode_TARGET {
		st, err := s.runtime.Status(ctx, options.TargetId)
		if err != nil {
			return fmt.Errorf("find target container: %w", err)
		}
		if st.Pid == 0 {
			return errkind.New(errkind.Precondition, "target container %s is not running", options.TargetId)
		}
		in.targetPid = st.Pid
	}
	if b.PidHolder != "" {
		st, err := s.runtime.Status(ctx, b.PidHolder)
		if err != nil {
			return fmt.Errorf("find shared pid namespace: %w", err)
		}
		if st.Pid == 0 {
			return errkind.New(errkind.Precondition, "the pod's shared pid namespace has ended")
		}
		in.holderPid = st.Pid
	}
	return nil
}

// makeSources makes the folders on the host that mounts name and that do not exist, as users of Docker expect.
func makeSources(mounts []*runtimeapi.Mount) error {
	for _, m := range mounts {
		if m.HostPath == "" || exists(m.HostPath) {
			continue
		}
		if err := os.MkdirAll(m.HostPath, 0o755); err != nil {
			return errkind.New(errkind.Invalid, "mount %s: %w", m.ContainerPath, err)
		}
	}
	return nil
}

// stopSignal is the signal that asks a container to end.
func stopSignal(config *runtimeapi.ContainerConfig, image Image, x extras.Container) (int, error) {
	name := image.Config.StopSignal
	if s := config.StopSignal; s != runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT {
		name = signalName(s)
	}
	if x.StopSignal != "" {
		name = x.StopSignal
	}
	if name == "" {
		name = "SIGTERM"
	}
	return extras.ParseSignal(name)
}

// StartContainer implements RuntimeService.
func (s *Service) StartContainer(ctx context.Context, id string) error {
	c, err := s.findContainer(id)
	if err != nil {
		return err
	}
	if err := s.runtime.Start(ctx, id); err != nil {
		return fmt.Errorf("start container %q: %w", c.Config.Metadata.Name, err)
	}
	return nil
}

// StopContainer implements RuntimeService: the stop signal, then KILL after the timeout in seconds.
func (s *Service) StopContainer(ctx context.Context, id string, timeout int64) error {
	c, err := s.findContainer(id)
	if err != nil {
		return nil
	}
	if timeout > 0 {
		done, err := s.askToEnd(ctx, c, time.Duration(timeout)*time.Second)
		if done || err != nil {
			return err
		}
	}
	return s.kill(ctx, id)
}

// askToEnd sends the stop signal and waits for the container's end, or the time-out's.
func (s *Service) askToEnd(ctx context.Context, c *ctr, timeout time.Duration) (done bool, err error) {
	st, err := s.runtime.Status(ctx, c.ID)
	if errors.Is(err, errkind.NotFound) || err == nil && st.State == container.Exited {
		return true, nil
	}
	if err != nil || st.State == container.Created {
		return false, err
	}
	if err := s.runtime.Signal(ctx, c.ID, c.StopSignal, false); err != nil {
		if errors.Is(err, errkind.NotFound) {
			return true, nil
		}
		return false, fmt.Errorf("stop container %q: %w", c.Config.Metadata.Name, err)
	}
	if st.State == container.Paused {
		if err := s.runtime.Resume(ctx, c.ID); err != nil {
			return false, fmt.Errorf("stop container %q: %w", c.Config.Metadata.Name, err)
		}
	}
	patience, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err = s.runtime.Wait(patience, c.ID)
	switch {
	case err == nil || errors.Is(err, errkind.NotFound):
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case patience.Err() != nil:
		return false, nil
	}
	return false, err
}

// kill ends a container for sure, and returns when it has ended. One that never started stays as it is.
func (s *Service) kill(ctx context.Context, id string) error {
	st, err := s.runtime.Status(ctx, id)
	if errors.Is(err, errkind.NotFound) || err == nil && (st.State == container.Exited || st.State == container.Created) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.runtime.Signal(ctx, id, 9, true); err != nil && !errors.Is(err, errkind.NotFound) {
		return err
	}
	if _, err := s.runtime.Wait(ctx, id); err != nil && !errors.Is(err, errkind.NotFound) {
		return err
	}
	return nil
}

// RemoveContainer implements RuntimeService.
func (s *Service) RemoveContainer(ctx context.Context, id string) error {
	c, err := s.findContainer(id)
	if err != nil {
		return nil
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := s.runtime.Delete(ctx, id, true); err != nil {
		return fmt.Errorf("remove container %q: %w", c.Config.Metadata.Name, err)
	}
	if err := s.removeRoots(ctx, id, len(imageVolumes(c.Config))); err != nil {
		return fmt.Errorf("remove container %q: %w", c.Config.Metadata.Name, err)
	}
	if err := os.RemoveAll(s.containerDir(id)); err != nil {
		return fmt.Errorf("remove container %q: %w", c.Config.Metadata.Name, err)
	}
	s.mu.Lock()
	delete(s.containers, id)
	s.mu.Unlock()
	s.usage.forget(id)
	return nil
}

func (s *Service) findContainer(id string) (*ctr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.containers[id]; ok {
		return c, nil
	}
	return nil, errkind.New(errkind.NotFound, "container %q not found", id)
}

// ReopenContainerLog implements RuntimeService.
func (s *Service) ReopenContainerLog(ctx context.Context, id string) error {
	if _, err := s.findContainer(id); err != nil {
		return err
	}
	return s.runtime.ReopenLog(ctx, id)
}

// UpdateContainerResources implements RuntimeService.
func (s *Service) UpdateContainerResources(ctx context.Context, id string, resources *runtimeapi.ContainerResources) error {
	c, err := s.findContainer(id)
	if err != nil {
		return err
	}
	linux := resources.GetLinux()
	if linux == nil {
		return nil
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := s.runtime.Update(ctx, id, s.host.resources(linux)); err != nil {
		return fmt.Errorf("update container %q: %w", c.Config.Metadata.Name, err)
	}
	config := proto.Clone(c.Config).(*runtimeapi.ContainerConfig)
	if config.Linux == nil {
		config.Linux = &runtimeapi.LinuxContainerConfig{}
	}
	config.Linux.Resources = mergeResources(config.Linux.Resources, linux)
	s.mu.Lock()
	c.Config = config
	s.mu.Unlock()
	return writeRecord(s.containerDir(id), c.containerRecord)
}

// mergeResources lays the set fields of change over base.
func mergeResources(base, change *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	merged := &runtimeapi.LinuxContainerResources{}
	if base != nil {
		proto.Merge(merged, base)
	}
	proto.Merge(merged, change)
	return merged
}
