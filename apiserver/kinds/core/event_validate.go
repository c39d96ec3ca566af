package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
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

// validateCoreEvent is lenient with events of the old form, which have no eventTime: their writers are many and old.
func validateCoreEvent(event *corev1.Event) field.ErrorList {
	return ValidateEvent(event, "reportingComponent")
}

func ValidateEvent(event *corev1.Event, controllerField string) field.ErrorList {
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
		errs = append(errs, field.Invalid(meta.MetaPath.Child("name"), event.Name, msg))
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
	return append(meta.ValidateUpdate(event, old), validateCoreEvent(event)...)
}
