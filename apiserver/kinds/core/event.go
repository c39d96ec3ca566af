package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func coreEvents() *registry.Kind {
	return &registry.Kind{
		GVK:              coreKind("Event"),
		Resource:         "events",
		Singular:         "event",
		ShortNames:       []string{"ev"},
		Namespaced:       true,
		StoragePrefix:    "events",
		New:              func() registry.Object { return &corev1.Event{} },
		NewList:          func() runtime.Object { return &corev1.EventList{} },
		ValidateCreate:   meta.Faults(validateCoreEventCreate),
		ValidateUpdate:   meta.FaultsOf(validateCoreEventUpdate),
		Fields:           coreEventFields,
		SelectableFields: coreEventFieldNames,
		Columns:          EventColumns(),
		Cells:            meta.Cells(EventCells),
		CreateOnUpdate:   true,
	}
}
