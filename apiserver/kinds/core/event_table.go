package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

var coreEventFieldNames = []string{
	"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
	"involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
	"reason", "reportingComponent", "source", "type",
}

func coreEventFields(obj registry.Object) fields.Set {
	event := obj.(*corev1.Event)
	source := event.Source.Component
	if source == "" {
		source = event.ReportingController
	}
	return meta.WithFields(obj, fields.Set{
		"involvedObject.kind":            event.InvolvedObject.Kind,
		"involvedObject.namespace":       event.InvolvedObject.Namespace,
		"involvedObject.name":            event.InvolvedObject.Name,
		"involvedObject.uid":             string(event.InvolvedObject.UID),
		"involvedObject.apiVersion":      event.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": event.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       event.InvolvedObject.FieldPath,
		"reason":                         event.Reason,
		"reportingComponent":             event.ReportingController,
		"source":                         source,
		"type":                           event.Type,
	})
}

func EventColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		meta.Col("Last Seen", "string", "Time since the most recent occurrence of this event."),
		meta.Col("Type", "string", "Type of this event (Normal, Warning), new types could be added in the future."),
		meta.Col("Reason", "string", "Short, machine understandable reason of the event."),
		meta.Col("Object", "string", "The object this event is about."),
		meta.Wide("Subobject", "string", "The part of the object this event is about."),
		meta.Wide("Source", "string", "The component that reported this event."),
		meta.Col("Message", "string", "A human-readable description of what happened."),
		meta.Wide("First Seen", "string", "Time since the first occurrence of this event."),
		meta.Wide("Count", "string", "The number of times this event has occurred."),
		wideName(),
	}
}

func wideName() metav1.TableColumnDefinition {
	c := meta.NameColumn()
	c.Priority = 1
	return c
}

func EventCells(event *corev1.Event) []any {
	first := meta.Age(event.FirstTimestamp)
	if event.FirstTimestamp.IsZero() {
		first = meta.MicroAge(event.EventTime)
	}
	last := meta.Age(event.LastTimestamp)
	if event.LastTimestamp.IsZero() {
		last = first
	}
	count := event.Count
	switch {
	case event.Series != nil:
		last = meta.MicroAge(event.Series.LastObservedTime)
		count = event.Series.Count
	case count == 0:
		count = 1 // events of the newer form count only from their second occurrence on
	}
	object := strings.ToLower(event.InvolvedObject.Kind)
	if event.InvolvedObject.Name != "" {
		object += "/" + event.InvolvedObject.Name
	}
	return []any{last, event.Type, event.Reason, object, event.InvolvedObject.FieldPath, eventSource(event),
		strings.TrimSpace(event.Message), first, int64(count), event.Name}
}

func eventSource(event *corev1.Event) string {
	source := meta.OrDefault(event.Source.Component, event.ReportingController)
	if host := meta.OrDefault(event.Source.Host, event.ReportingInstance); host != "" {
		source += ", " + host
	}
	return source
}
