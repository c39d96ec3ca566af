package storage

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func storageClasses() *registry.Kind {
	return &registry.Kind{
		GVK:            storagev1.SchemeGroupVersion.WithKind("StorageClass"),
		Resource:       "storageclasses",
		Singular:       "storageclass",
		ShortNames:     []string{"sc"},
		StoragePrefix:  "storageclasses",
		New:            func() registry.Object { return &storagev1.StorageClass{} },
		NewList:        func() runtime.Object { return &storagev1.StorageClassList{} },
		Default:        meta.One(defaultStorageClass),
		ValidateCreate: meta.Faults(validateStorageClass),
		ValidateUpdate: meta.FaultsOf(validateStorageClassUpdate),
		Warnings:       storageClassWarnings,
		Columns:        storageClassColumns(),
		Cells:          meta.Cells(storageClassCells),
	}
}

func defaultStorageClass(c *storagev1.StorageClass) {
	meta.DefaultTo(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	meta.DefaultTo(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
}
