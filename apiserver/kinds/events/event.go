package events

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/core"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// coreEventOf and newEventOf are the two faces of one event. Nothing is lost either way: what the older form alone has
// goes into the newer one's deprecated fields.
func coreEventOf(in *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		ObjectMeta:          *in.ObjectMeta.DeepCopy(),
		InvolvedObject:      in.Regarding,
		Related:             in.Related.DeepCopy(),
		Reason:              in.Reason,
		Message:             in.Note,
		Source:              in.DeprecatedSource,
		FirstTimestamp:      in.DeprecatedFirstTimestamp,
		LastTimestamp:       in.DeprecatedLastTimestamp,
		Count:               in.DeprecatedCount,
		Type:                in.Type,
		EventTime:           in.EventTime,
		Action:              in.Action,
		ReportingController: in.ReportingController,
		ReportingInstance:   in.ReportingInstance,
	}
	out.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Event"))
	if in.Series != nil {
		out.Series = &corev1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
	return out
}

func newEventOf(in *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		ObjectMeta:               *in.ObjectMeta.DeepCopy(),
		Regarding:                in.InvolvedObject,
		Related:                  in.Related.DeepCopy(),
		Reason:                   in.Reason,
		Note:                     in.Message,
		DeprecatedSource:         in.Source,
		DeprecatedFirstTimestamp: in.FirstTimestamp,
		DeprecatedLastTimestamp:  in.LastTimestamp,
		DeprecatedCount:          in.Count,
		Type:                     in.Type,
		EventTime:                in.EventTime,
		Action:                   in.Action,
		ReportingController:      in.ReportingController,
		ReportingInstance:        in.ReportingInstance,
	}
	out.SetGroupVersionKind(eventsv1.SchemeGroupVersion.WithKind("Event"))
	if in.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
	return out
}

// newEvents is another face of the core group's Event: the same objects, stored once, as core/v1.
func newEvents() *registry.Kind {
	return &registry.Kind{
		GVK:              eventsv1.SchemeGroupVersion.WithKind("Event"),
		Resource:         "events",
		Singular:         "event",
		ShortNames:       []string{"ev"},
		Namespaced:       true,
		StoragePrefix:    "events",
		StorageVersion:   corev1.SchemeGroupVersion.WithKind("Event"),
		ToStorage:        meta.ToStorage(coreEventOf),
		FromStorage:      meta.FromStorage(newEventOf),
		New:              func() registry.Object { return &eventsv1.Event{} },
		NewList:          func() runtime.Object { return &eventsv1.EventList{} },
		ValidateCreate:   meta.Faults(validateNewEvent),
		ValidateUpdate:   meta.FaultsOf(validateNewEventUpdate),
		SelectableFields: newEventFieldNames,
		StoredFields:     coreEventFieldNames(),
		Columns:          core.EventColumns(),
		Cells:            meta.Cells(newEventCells),
		CreateOnUpdate:   true,
	}
}
