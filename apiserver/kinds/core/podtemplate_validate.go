package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func validatePodTemplate(t *corev1.PodTemplate) field.ErrorList {
	errs := meta.Validate(t, true, apivalidation.NameIsDNSSubdomain)
	return append(errs, podspec.ValidateTemplate(&t.Template, nil, field.NewPath("template"))...)
}

func validatePodTemplateUpdate(t, old *corev1.PodTemplate) field.ErrorList {
	errs := meta.ValidateUpdate(t, old)
	return append(errs, podspec.ValidateTemplate(&t.Template, &old.Template, field.NewPath("template"))...)
}

func podTemplateWarnings(obj, old registry.Object) []string {
	t := obj.(*corev1.PodTemplate)
	if before, ok := old.(*corev1.PodTemplate); ok && before.Generation == t.Generation {
		return nil
	}
	return podspec.Warnings(&t.Template.Spec, field.NewPath("template", "spec"))
}
