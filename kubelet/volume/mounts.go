package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/internal/mount"
	"github.com/cuppa-project/cuppa/kubelet/environ"
)

// MountInput is what Mounts needs beside the spec.
type MountInput struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	Attempt   uint32
	Lookup    func(string) (string, bool) // the container's variables, for subPathExpr
	EtcHosts  string                      // path of the pod's hosts file; empty: none
	Images    map[string]string           // by volume name: what image volumes resolved to
}

// Mounts says what the runtime should mount into a container, and makes the files that this needs. MessagePath is the
// container's termination message file on the host.
func (k *Keeper) Mounts(in MountInput) (mounts []*runtimeapi.Mount, messagePath string, err error) {
	volumes := map[string]*corev1.Volume{}
	for i := range in.Pod.Spec.Volumes {
		volumes[in.Pod.Spec.Volumes[i].Name] = &in.Pod.Spec.Volumes[i]
	}
	ownHosts := false
	for i := range in.Container.VolumeMounts {
		m := &in.Container.VolumeMounts[i]
		v, ok := volumes[m.Name]
		if !ok {
			return nil, "", errkind.New(errkind.Invalid, "volumeMount %q names no volume of the pod", m.Name)
		}
		one, err := k.mount(in, v, m, i)
		if err != nil {
			return nil, "", fmt.Errorf("mount volume %q at %s: %w", m.Name, m.MountPath, err)
		}
		mounts = append(mounts, one)
		ownHosts = ownHosts || filepath.Clean(m.MountPath) == etcHosts
	}
	if in.EtcHosts != "" && !ownHosts {
		mounts = append(mounts, &runtimeapi.Mount{ContainerPath: etcHosts, HostPath: in.EtcHosts})
	}
	if path := in.Container.TerminationMessagePath; path != "" {
		messagePath, err = k.messageFile(in)
		if err != nil {
			return nil, "", err
		}
		mounts = append(mounts, &runtimeapi.Mount{ContainerPath: path, HostPath: messagePath})
	}
	return mounts, messagePath, nil
}

const etcHosts = "/etc/hosts"

// messageFile makes the file a container may write its last words to; anybody may, whoever the container runs as.
func (k *Keeper) messageFile(in MountInput) (string, error) {
	dir := filepath.Join(k.PodDir(in.Pod.UID), "containers", in.Container.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("make termination message file: %w", err)
	}
	path := filepath.Join(dir, strconv.Itoa(int(in.Attempt)))
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return "", fmt.Errorf("make termination message file: %w", err)
	}
	return path, os.Chmod(path, 0o666)
}

func (k *Keeper) mount(in MountInput, v *corev1.Volume, m *corev1.VolumeMount, index int) (*runtimeapi.Mount, error) {
	kind, err := k.rowOf(v)
	if err != nil {
		return nil, err
	}
	out := &runtimeapi.Mount{
		ContainerPath: m.MountPath,
		Readonly:      m.ReadOnly || kind.mirrors,
		Propagation:   propagation(m.MountPropagation),
	}
	if !filepath.IsAbs(out.ContainerPath) {
		out.ContainerPath = filepath.Join("/", out.ContainerPath)
	}
	if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled {
		out.RecursiveReadOnly = out.Readonly
	}
	sub := m.SubPath
	if m.SubPathExpr != "" {
		sub = environ.Expand(m.SubPathExpr, in.Lookup)
	}
	if v.Image != nil {
		out.Readonly, out.ImageSubPath = true, sub
		out.Image = &runtimeapi.ImageSpec{Image: in.Images[v.Name], UserSpecifiedImage: v.Image.Reference}
		return out, nil
	}
	out.HostPath = k.record(in.Pod.UID, v, kind).Path
	if sub == "" {
		return out, nil
	}
	if !filepath.IsLocal(sub) {
		return nil, errkind.New(errkind.Invalid, "subPath %q leaves the volume", sub)
	}
	target := filepath.Join(k.subPaths(in.Pod.UID), in.Container.Name, strconv.Itoa(index))
	if err := bindSubPath(out.HostPath, sub, target); err != nil {
		return nil, err
	}
	out.HostPath = target
	return out, nil
}

func propagation(mode *corev1.MountPropagationMode) runtimeapi.MountPropagation {
	switch {
	case mode == nil:
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
	case *mode == corev1.MountPropagationHostToContainer:
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	case *mode == corev1.MountPropagationBidirectional:
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	default:
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
	}
}

// bindSubPath mounts one path inside a volume at target. Whatever a container changes there meanwhile, no link leads out of the volume,
// and nothing that could hold us up or act by being opened is touched. What is missing is made as a folder, as open as the volume is.
func bindSubPath(volume, sub, target string) error {
	root, err := mount.OpenRoot(volume)
	if err != nil {
		return err
	}
	defer root.Close()
	handle, err := root.Handle(sub, mount.Beneath)
	if errors.Is(err, errkind.NotFound) {
		var info os.FileInfo
		if info, err = os.Stat(volume); err != nil {
			return err
		}
		handle, err = root.MkdirAll(sub, mount.Beneath, info.Mode())
	}
	if err != nil {
		return fmt.Errorf("subPath: %w", err)
	}
	defer handle.Close()
	info, err := handle.Stat()
	if err != nil {
		return err
	}
	if err := makeTarget(target, info.IsDir()); err != nil {
		return err
	}
	return mount.Bind(handle, target)
}

func makeTarget(target string, dir bool) error {
	if _, err := mount.Clear(target); err != nil { // of a former attempt
		return err
	}
	if dir {
		return os.MkdirAll(target, 0o750)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	return os.WriteFile(target, nil, 0o600)
}
