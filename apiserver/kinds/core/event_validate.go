package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

// The lengths that keep one event small, whoever writes it.
const (
	maxEventField = 128
	maxEventNote  = 1024
)

// validateCoreEventCreate holds the name only to what a path can carry: writers make names of what the event is about.
func validateCoreEventCreate(event *corev1.Event) field.ErrorList {
	return append(meta.Validate(event, true, path.ValidatePathSegmentName), validateCoreEvent(event)...)
}

// validateCoreEvent is lenient with events of the old form, which have no eventTime: their writers are many and old.
func validateCoreEvent(event *corev1.Event) field.ErrorList {
	return ValidateEvent(event, "reportingComponent")
}

func ValidateEvent(event *corev1.Event, controllerField string) field.ErrorList {
	errs := validateEventNamespace(event)
	for _, msg := range validation.IsDNS1123Subdomain(event.Namespace) {
		errs = append(errs, field.Invalid(field.NewPath("namespace"), event.Namespace, msg))
	}
	if event.EventTime.IsZero() && controllerField == "reportingComponent" {
		return errs
	}
	return append(errs, validateEventReport(event, controllerField)...)
}

// validateEventNamespace holds an event of the old form to the namespace of what it is about. One of the newer form may be about an object of
// any namespace; one about an object of none belongs into one of the system's.
func validateEventNamespace(event *corev1.Event) field.ErrorList {
	about, old := event.InvolvedObject.Namespace, event.EventTime.IsZero()
	home := event.Namespace == metav1.NamespaceDefault || !old && event.Namespace == metav1.NamespaceSystem
	if about == "" && !home || about != "" && old && about != event.Namespace {
		return field.ErrorList{field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace")}
	}
	return nil
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
	return append(meta.ValidateUpdate(event, old), validateCoreEvent(event)...)
}
