package storage

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func storageClassColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.NameColumn(),
		meta.Col("Provisioner", "string", "What makes the volumes of this class."),
		meta.Col("ReclaimPolicy", "string", "What becomes of a volume whose claim has gone."),
		meta.Col("VolumeBindingMode", "string", "When a claim gets its volume."),
		meta.Col("AllowVolumeExpansion", "string", "Whether a volume may grow."),
		meta.AgeColumn(),
	}
}

// defaultClass marks the class of claims that name none.
const defaultClass = "storageclass.kubernetes.io/is-default-class"

func storageClassCells(c *storagev1.StorageClass) []any {
	name := c.Name
	if c.Annotations[defaultClass] == "true" {
		name += " (default)"
	}
	return []any{
		name, c.Provisioner, string(ptr.Deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
		string(ptr.Deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)), ptr.Deref(c.AllowVolumeExpansion, false), meta.Age(c.CreationTimestamp),
	}
}
