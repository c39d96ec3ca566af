package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func secrets() *registry.Kind {
	return &registry.Kind{
		GVK:              coreKind("Secret"),
		Resource:         "secrets",
		Singular:         "secret",
		Namespaced:       true,
		StoragePrefix:    "secrets",
		New:              func() registry.Object { return &corev1.Secret{} },
		NewList:          func() runtime.Object { return &corev1.SecretList{} },
		Default:          meta.One(defaultSecret),
		ValidateCreate:   meta.Faults(validateSecret),
		ValidateUpdate:   meta.FaultsOf(validateSecretUpdate),
		Fields:           secretFields,
		SelectableFields: []string{"type"},
		Columns:          secretColumns(),
		Cells:            meta.Cells(secretCells),
	}
}
