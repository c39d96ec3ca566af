package podspec

import (
	corev1 "k8s.io/api/core/v1"
)

// DropGated clears the fields of features that Kubernetes 1.37 has switched off unless asked for, as it does itself. They are
// in the types and so get past strict decoding; kept, they would promise what no part of the system does.
func DropGated(spec *corev1.PodSpec) {
	spec.EvictionResponders = nil
	spec.SchedulingGroup = nil
	for i := range spec.Volumes {
		dropGatedVolume(&spec.Volumes[i].VolumeSource)
	}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			c := &list[i]
			for j := range c.VolumeMounts {
				c.VolumeMounts[j].BindMountOptions = nil
			}
			for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
				dropGatedProbe(p)
			}
			if c.Lifecycle != nil {
				dropGatedHandler(c.Lifecycle.PostStart)
				dropGatedHandler(c.Lifecycle.PreStop)
			}
		}
	}
}

func dropGatedProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	if p.HTTPGet != nil {
		p.HTTPGet.Protocol = nil
	}
	if p.GRPC != nil {
		p.GRPC.Mode = nil
	}
}

func dropGatedHandler(h *corev1.LifecycleHandler) {
	if h != nil && h.HTTPGet != nil {
		h.HTTPGet.Protocol = nil
	}
}

func dropGatedVolume(s *corev1.VolumeSource) {
	switch {
	case s.EmptyDir != nil:
		s.EmptyDir.Mode = nil
	case s.Secret != nil:
		s.Secret.DefaultUser = nil
		dropUsers(s.Secret.Items)
	case s.ConfigMap != nil:
		s.ConfigMap.DefaultUser = nil
		dropUsers(s.ConfigMap.Items)
	case s.DownwardAPI != nil:
		s.DownwardAPI.DefaultUser = nil
		dropFileUsers(s.DownwardAPI.Items)
	case s.Projected != nil:
		s.Projected.DefaultUser = nil
		for i := range s.Projected.Sources {
			p := &s.Projected.Sources[i]
			switch {
			case p.Secret != nil:
				dropUsers(p.Secret.Items)
			case p.ConfigMap != nil:
				dropUsers(p.ConfigMap.Items)
			case p.DownwardAPI != nil:
				dropFileUsers(p.DownwardAPI.Items)
			case p.ServiceAccountToken != nil:
				p.ServiceAccountToken.User = nil
			case p.ClusterTrustBundle != nil:
				p.ClusterTrustBundle.User = nil
			case p.PodCertificate != nil:
				p.PodCertificate.User = nil
			}
		}
	}
}

func dropUsers(items []corev1.KeyToPath) {
	for i := range items {
		items[i].User = nil
	}
}

func dropFileUsers(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		items[i].User = nil
	}
}

func DropGatedTemplate(template *corev1.PodTemplateSpec) { DropGated(&template.Spec) }
