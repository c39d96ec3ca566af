package kinds

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// events is the group events.k8s.io. Its Event is another face of the core group's: the same objects, stored once, as core/v1.
func events() []*Kind {
	return []*Kind{{
		GVK:              eventsv1.SchemeGroupVersion.WithKind("Event"),
		Resource:         "events",
		Singular:         "event",
		ShortNames:       []string{"ev"},
		Namespaced:       true,
		StoragePrefix:    "events",
		StorageVersion:   corev1.SchemeGroupVersion.WithKind("Event"),
		ToStorage:        func(obj Object) (Object, error) { return coreEventOf(obj.(*eventsv1.Event)), nil },
		FromStorage:      func(obj Object) (Object, error) { return newEventOf(obj.(*corev1.Event)), nil },
		New:              func() Object { return &eventsv1.Event{} },
		NewList:          func() runtime.Object { return &eventsv1.EventList{} },
		ValidateCreate:   faults(validateNewEvent),
		ValidateUpdate:   faultsOf(validateNewEventUpdate),
		Fields:           newEventFields,
		SelectableFields: newEventFieldNames,
		Columns:          eventColumns(),
		Cells:            cells(newEventCells),
	}}
}
