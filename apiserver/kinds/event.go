package kinds

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The lengths that keep one event small, whoever writes it.
const (
	maxEventField = 128
	maxEventNote  = 1024
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

// validateCoreEvent is lenient with events of the old form, which have no eventTime: their writers are many and old.
func validateCoreEvent(event *corev1.Event) field.ErrorList {
	return validateEvent(event, "reportingComponent")
}

func validateEvent(event *corev1.Event, controllerField string) field.ErrorList {
	var errs field.ErrorList
	switch about := event.InvolvedObject.Namespace; {
	case about == "" && event.Namespace != metav1.NamespaceDefault && event.Namespace != metav1.NamespaceSystem,
		about != "" && about != event.Namespace:
		errs = append(errs, field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace"))
	}
	for _, msg := range validation.IsDNS1123Subdomain(event.Namespace) {
		errs = append(errs, field.Invalid(field.NewPath("namespace"), event.Namespace, msg))
	}
	for _, msg := range content.IsPathSegmentName(event.Name) {
		errs = append(errs, field.Invalid(metaPath.Child("name"), event.Name, msg))
	}
	if event.EventTime.IsZero() && controllerField == "reportingComponent" {
		return errs
	}
	return append(errs, validateEventReport(event, controllerField)...)
}

// validateEventReport checks what events of the newer form must say.
func validateEventReport(event *corev1.Event, controllerField string) field.ErrorList {
	var errs field.ErrorList
	controller := field.NewPath(controllerField)
	if event.ReportingController == "" {
		errs = append(errs, field.Required(controller, ""))
	}
	for _, msg := range validation.IsQualifiedName(event.ReportingController) {
		errs = append(errs, field.Invalid(controller, event.ReportingController, msg))
	}
	for _, f := range []struct{ name, value string }{
		{"reportingInstance", event.ReportingInstance}, {"action", event.Action}, {"reason", event.Reason},
	} {
		if f.value == "" {
			errs = append(errs, field.Required(field.NewPath(f.name), ""))
		}
		if len(f.value) > maxEventField {
			errs = append(errs, field.Invalid(field.NewPath(f.name), "", fmt.Sprintf("can have at most %v characters", maxEventField)))
		}
	}
	if len(event.Message) > maxEventNote {
		errs = append(errs, field.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %v characters", maxEventNote)))
	}
	return errs
}

func validateCoreEventUpdate(event, old *corev1.Event) field.ErrorList {
	return append(validateMetaUpdate(event, old), validateCoreEvent(event)...)
}

// validateNewEvent holds events of the newer group to its stricter rules.
func validateNewEvent(in *eventsv1.Event) field.ErrorList {
	event := coreEventOf(in)
	errs := validateEvent(event, "reportingController")
	errs = append(errs, validateMeta(event, true, apivalidation.NameIsDNSSubdomain)...)
	errs = append(errs, validateEventSeries(event.Series)...)
	if event.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if event.Type != corev1.EventTypeNormal && event.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", event.Type)))
	}
	const unset = "needs to be unset"
	if !event.FirstTimestamp.IsZero() {
		errs = append(errs, field.Invalid(field.NewPath("firstTimestamp"), "", unset))
	}
	if !event.LastTimestamp.IsZero() {
		errs = append(errs, field.Invalid(field.NewPath("lastTimestamp"), "", unset))
	}
	if event.Count != 0 {
		errs = append(errs, field.Invalid(field.NewPath("count"), "", unset))
	}
	if event.Source.Component != "" || event.Source.Host != "" {
		errs = append(errs, field.Invalid(field.NewPath("source"), "", unset))
	}
	return errs
}

func validateEventSeries(series *corev1.EventSeries) field.ErrorList {
	if series == nil {
		return nil
	}
	var errs field.ErrorList
	if series.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series", "count"), "", "should be at least 2"))
	}
	if series.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series", "lastObservedTime"), ""))
	}
	return errs
}

// validateNewEventUpdate lets only the series and the metadata of a new-style event change.
func validateNewEventUpdate(now, before *eventsv1.Event) field.ErrorList {
	event, old := coreEventOf(now), coreEventOf(before)
	errs := validateMetaUpdate(event, old)
	errs = append(errs, validateEventSeries(event.Series)...)
	for _, f := range []struct {
		name        string
		now, before any
	}{
		{"involvedObject", event.InvolvedObject, old.InvolvedObject},
		{"reason", event.Reason, old.Reason},
		{"message", event.Message, old.Message},
		{"source", event.Source, old.Source},
		{"firstTimestamp", event.FirstTimestamp, old.FirstTimestamp},
		{"lastTimestamp", event.LastTimestamp, old.LastTimestamp},
		{"count", event.Count, old.Count},
		{"eventTime", event.EventTime, old.EventTime},
		{"action", event.Action, old.Action},
		{"related", event.Related, old.Related},
		{"reportingController", event.ReportingController, old.ReportingController},
		{"reportingInstance", event.ReportingInstance, old.ReportingInstance},
		{"type", event.Type, old.Type},
	} {
		errs = append(errs, immutable(f.now, f.before, field.NewPath(f.name))...)
	}
	return errs
}

var coreEventFieldNames = []string{
	"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
	"involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
	"reason", "reportingComponent", "source", "type",
}

func coreEventFields(obj Object) fields.Set {
	event := obj.(*corev1.Event)
	source := event.Source.Component
	if source == "" {
		source = event.ReportingController
	}
	return withMetaFields(obj, fields.Set{
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

var newEventFieldNames = []string{
	"regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
	"regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath",
	"reason", "reportingController", "type",
}

func newEventFields(obj Object) fields.Set {
	event := obj.(*eventsv1.Event)
	return withMetaFields(obj, fields.Set{
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

func eventColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		col("Last Seen", "string", "Time since the most recent occurrence of this event."),
		col("Type", "string", "Type of this event (Normal, Warning), new types could be added in the future."),
		col("Reason", "string", "Short, machine understandable reason of the event."),
		col("Object", "string", "The object this event is about."),
		wide("Subobject", "string", "The part of the object this event is about."),
		wide("Source", "string", "The component that reported this event."),
		col("Message", "string", "A human-readable description of what happened."),
		wide("First Seen", "string", "Time since the first occurrence of this event."),
		wide("Count", "string", "The number of times this event has occurred."),
		wideName(),
	}
}

func wideName() metav1.TableColumnDefinition {
	c := nameColumn()
	c.Priority = 1
	return c
}

func newEventCells(event *eventsv1.Event) []any { return coreEventCells(coreEventOf(event)) }

func coreEventCells(event *corev1.Event) []any {
	first := age(event.FirstTimestamp)
	if event.FirstTimestamp.IsZero() {
		first = microAge(event.EventTime)
	}
	last := age(event.LastTimestamp)
	if event.LastTimestamp.IsZero() {
		last = first
	}
	count := event.Count
	switch {
	case event.Series != nil:
		last = microAge(event.Series.LastObservedTime)
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
	source := orDefault(event.Source.Component, event.ReportingController)
	if host := orDefault(event.Source.Host, event.ReportingInstance); host != "" {
		source += ", " + host
	}
	return source
}
