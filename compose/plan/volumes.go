package plan

import (
	"fmt"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/compose/model"
)

// volumes mounts everything the service and its image ask for. A folder that the image has at the place of a volume fills the volume on its
// first use; the engine does that.
func (b *builder) volumes(s *model.Service, image Image, t *corev1.PodTemplateSpec, c *corev1.Container, asked *extras.Container) {
	mounts := slices.Clone(s.Mounts)
	for _, path := range image.Volumes {
		if !slices.ContainsFunc(mounts, func(m model.Mount) bool { return m.Target == path }) {
			mounts = append(mounts, model.Mount{Kind: model.Anonymous, Target: path})
		}
	}
	for _, m := range mounts {
		v := corev1.Volume{Name: fmt.Sprintf("volume-%d", len(t.Spec.Volumes)+1)}
		vm := corev1.VolumeMount{Name: v.Name, MountPath: m.Target, ReadOnly: m.ReadOnly, SubPath: m.Subpath}
		b.source(m, &v, &vm)
		if (m.Kind == model.Named || m.Kind == model.Anonymous) && !m.NoCopy {
			asked.Fill = append(asked.Fill, m.Target)
		}
		t.Spec.Volumes = append(t.Spec.Volumes, v)
		c.VolumeMounts = append(c.VolumeMounts, vm)
	}
	for _, ref := range s.Configs {
		v := corev1.Volume{Name: fmt.Sprintf("volume-%d", len(t.Spec.Volumes)+1)}
		v.ConfigMap = &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: configName(ref.Source)}, DefaultMode: mode(ref)}
		t.Spec.Volumes = append(t.Spec.Volumes, v)
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: ref.Target, SubPath: fileKey, ReadOnly: true})
	}
	for _, ref := range s.Secrets {
		v := corev1.Volume{Name: fmt.Sprintf("volume-%d", len(t.Spec.Volumes)+1)}
		v.Secret = &corev1.SecretVolumeSource{SecretName: secretName(ref.Source), DefaultMode: mode(ref)}
		t.Spec.Volumes = append(t.Spec.Volumes, v)
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: ref.Target, SubPath: fileKey, ReadOnly: true})
	}
}

func mode(ref model.FileRef) *int32 {
	if ref.Mode != nil {
		return ref.Mode
	}
	return new(int32(0o444))
}

// source says what one mount holds. Named volumes are folders of the node, under the root of volumes; anonymous ones live as long as their pod.
func (b *builder) source(m model.Mount, v *corev1.Volume, vm *corev1.VolumeMount) {
	switch m.Kind {
	case model.Bind:
		kind := corev1.HostPathDirectoryOrCreate
		if m.NotDir {
			kind = corev1.HostPathUnset
		}
		v.HostPath = &corev1.HostPathVolumeSource{Path: m.Source, Type: &kind}
		switch m.Propagation {
		case "rshared", "shared":
			vm.MountPropagation = new(corev1.MountPropagationBidirectional)
		case "rslave", "slave":
			vm.MountPropagation = new(corev1.MountPropagationHostToContainer)
		}
	case model.Named:
		kind := corev1.HostPathDirectoryOrCreate
		v.HostPath = &corev1.HostPathVolumeSource{Path: VolumePath(b.opts.VolumeRoot, m.Source), Type: &kind}
	case model.Tmpfs:
		v.EmptyDir = &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
		if m.Size > 0 {
			v.EmptyDir.SizeLimit = resource.NewQuantity(m.Size, resource.BinarySI)
		}
	default:
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
}

// VolumePath is the folder of a named volume on the node.
func VolumePath(root, name string) string { return filepath.Join(root, name, "_data") }
