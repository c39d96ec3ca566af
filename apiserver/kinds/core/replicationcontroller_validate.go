package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/kinds/workload"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func validateReplicationController(rc *corev1.ReplicationController) field.ErrorList {
	errs := meta.Validate(rc, true, apivalidation.NameIsDNSSubdomain)
	return append(errs, validateReplicationControllerSpec(&rc.Spec, nil, field.NewPath("spec"))...)
}

func validateReplicationControllerUpdate(rc, old *corev1.ReplicationController) field.ErrorList {
	errs := meta.ValidateUpdate(rc, old)
	return append(errs, validateReplicationControllerSpec(&rc.Spec, old.Spec.Template, field.NewPath("spec"))...)
}

func validateReplicationControllerSpec(spec *corev1.ReplicationControllerSpec, oldTemplate *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	errs := check.NonNegative(int64(spec.MinReadySeconds), path.Child("minReadySeconds"))
	selector := labels.SelectorFromSet(spec.Selector)
	if selector.Empty() {
		errs = append(errs, field.Required(path.Child("selector"), ""))
	}
	if spec.Replicas == nil {
		errs = append(errs, field.Required(path.Child("replicas"), ""))
	} else {
		errs = append(errs, check.NonNegative(int64(*spec.Replicas), path.Child("replicas"))...)
	}
	if spec.Template == nil {
		return append(errs, field.Required(path.Child("template"), ""))
	}
	return append(errs, workload.ValidateTemplate("ReplicationController", spec.Template, oldTemplate, selector, path.Child("template"))...)
}

func validateReplicationControllerStatus(rc, old *corev1.ReplicationController) field.ErrorList {
	errs := meta.ValidateUpdate(rc, old)
	s := &rc.Status
	return append(errs, workload.ValidateCounts(workload.Counts{
		Replicas: s.Replicas, FullyLabeled: s.FullyLabeledReplicas, Ready: s.ReadyReplicas, Available: s.AvailableReplicas,
		ObservedGeneration: s.ObservedGeneration,
	}, field.NewPath("status"))...)
}

func replicationControllerWarnings(obj, old registry.Object) []string {
	rc := obj.(*corev1.ReplicationController)
	if rc.Spec.Template == nil {
		return nil
	}
	if before, ok := old.(*corev1.ReplicationController); ok {
		return workload.TemplateWarnings(rc.Spec.Template, before.Spec.Template)
	}
	return append(podspec.HostnameWarnings(rc.Name, "Pod names and hostnames"), workload.TemplateWarnings(rc.Spec.Template, nil)...)
}
