package events

import (
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/cuppa-project/cuppa/apiserver/kinds/core"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

var newEventFieldNames = []string{
	"regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
	"regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath",
	"reason", "reportingController", "type",
}

func newEventFields(obj registry.Object) fields.Set {
	event := obj.(*eventsv1.Event)
	return meta.WithFields(obj, fields.Set{
		"regarding.kind":            event.Regarding.Kind,
		"regarding.namespace":       event.Regarding.Namespace,
		"regarding.name":            event.Regarding.Name,
		"regarding.uid":             string(event.Regarding.UID),
		"regarding.apiVersion":      event.Regarding.APIVersion,
		"regarding.resourceVersion": event.Regarding.ResourceVersion,
		"regarding.fieldPath":       event.Regarding.FieldPath,
		"reason":                    event.Reason,
		"reportingController":       event.ReportingController,
		"type":                      event.Type,
	})
}

func newEventCells(event *eventsv1.Event) []any { return core.EventCells(coreEventOf(event)) }
