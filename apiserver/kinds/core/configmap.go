package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func configMaps() *registry.Kind {
	return &registry.Kind{
		GVK:            coreKind("ConfigMap"),
		Resource:       "configmaps",
		Singular:       "configmap",
		ShortNames:     []string{"cm"},
		Namespaced:     true,
		StoragePrefix:  "configmaps",
		New:            func() registry.Object { return &corev1.ConfigMap{} },
		NewList:        func() runtime.Object { return &corev1.ConfigMapList{} },
		ValidateCreate: meta.Faults(validateConfigMap),
		ValidateUpdate: meta.FaultsOf(validateConfigMapUpdate),
		Columns:        configMapColumns(),
		Cells:          meta.Cells(configMapCells),
	}
}
