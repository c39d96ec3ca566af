package scheduling

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

func validatePriorityClass(c *schedulingv1.PriorityClass) field.ErrorList {
	errs := meta.Validate(c, false, apivalidation.NameIsDNSSubdomain)
	switch {
	case strings.HasPrefix(c.Name, systemPrefix):
		if fault := notSystems(c); fault != "" {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				"priority class names with '"+systemPrefix+"' prefix are reserved for system use only. error: "+fault))
		}
	case c.Value > highestOfUsers:
		errs = append(errs, field.Forbidden(field.NewPath("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %d", highestOfUsers)))
	}
	if c.PreemptionPolicy != nil {
		errs = append(errs, check.OneOf(*c.PreemptionPolicy, field.NewPath("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	return errs
}

// notSystems says in what a class that has a name of the system's differs from it.
func notSystems(c *schedulingv1.PriorityClass) string {
	for _, own := range SystemPriorityClasses() {
		switch {
		case own.Name != c.Name:
			continue
		case own.Value != c.Value:
			return fmt.Sprintf("value of %s PriorityClass must be %d", own.Name, own.Value)
		case c.GlobalDefault:
			return fmt.Sprintf("globalDefault of %s PriorityClass must be false", own.Name)
		}
		return ""
	}
	return c.Name + " is not a known system priority class"
}

func validatePriorityClassUpdate(c, old *schedulingv1.PriorityClass) field.ErrorList {
	errs := meta.ValidateUpdate(c, old)
	if c.Value != old.Value {
		errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
	}
	return append(errs, check.Immutable(c.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
}
