package podspec

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

// defaultVolume makes a volume without a source an empty directory, and fills what each source may leave out.
func defaultVolume(source *corev1.VolumeSource) {
	if *source == (corev1.VolumeSource{}) {
		source.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if s := source.Secret; s != nil {
		meta.DefaultTo(&s.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if s := source.ConfigMap; s != nil {
		meta.DefaultTo(&s.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if s := source.DownwardAPI; s != nil {
		meta.DefaultTo(&s.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownwardItems(s.Items)
	}
	if s := source.Projected; s != nil {
		meta.DefaultTo(&s.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
		for i := range s.Sources {
			if down := s.Sources[i].DownwardAPI; down != nil {
				defaultDownwardItems(down.Items)
			}
			if token := s.Sources[i].ServiceAccountToken; token != nil {
				meta.DefaultTo(&token.ExpirationSeconds, 60*60)
			}
			if cert := s.Sources[i].PodCertificate; cert != nil {
				meta.DefaultTo(&cert.MaxExpirationSeconds, 24*60*60)
			}
		}
	}
	if s := source.HostPath; s != nil {
		meta.DefaultTo(&s.Type, corev1.HostPathUnset)
	}
	if s := source.Image; s != nil && s.PullPolicy == "" {
		s.PullPolicy = pullPolicyOf(s.Reference)
	}
	if s := source.Ephemeral; s != nil && s.VolumeClaimTemplate != nil {
		meta.DefaultTo(&s.VolumeClaimTemplate.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	}
	if s := source.ISCSI; s != nil && s.ISCSIInterface == "" {
		s.ISCSIInterface = "default"
	}
	defaultOldVolume(source)
}

// defaultOldVolume fills the sources of storage that is reached through drivers of its own today.
func defaultOldVolume(source *corev1.VolumeSource) {
	if s := source.RBD; s != nil {
		s.RBDPool = meta.OrDefault(s.RBDPool, "rbd")
		s.RadosUser = meta.OrDefault(s.RadosUser, "admin")
		s.Keyring = meta.OrDefault(s.Keyring, "/etc/ceph/keyring")
	}
	if s := source.AzureDisk; s != nil {
		meta.DefaultTo(&s.CachingMode, corev1.AzureDataDiskCachingReadWrite)
		meta.DefaultTo(&s.Kind, corev1.AzureSharedBlobDisk)
		meta.DefaultTo(&s.FSType, "ext4")
		meta.DefaultTo(&s.ReadOnly, false)
	}
	if s := source.ScaleIO; s != nil {
		s.StorageMode = meta.OrDefault(s.StorageMode, "ThinProvisioned")
		s.FSType = meta.OrDefault(s.FSType, "xfs")
	}
}

func defaultDownwardItems(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		if ref := items[i].FieldRef; ref != nil && ref.APIVersion == "" {
			ref.APIVersion = "v1"
		}
	}
}
