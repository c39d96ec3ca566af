package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// defaultNamespace puts the label on every namespace by which selectors find it by name.
func defaultNamespace(ns *corev1.Namespace) {
	if ns.Name == "" {
		return // a generated name is not known yet
	}
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	ns.Labels[corev1.LabelMetadataName] = ns.Name
}

// prepareNamespace starts a namespace Active, held by the finalizer that the namespace controller removes last.
func prepareNamespace(ns *corev1.Namespace) {
	defaultNamespace(ns) // by now a generated name is known
	ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	for _, f := range ns.Spec.Finalizers {
		if f == corev1.FinalizerKubernetes {
			return
		}
	}
	ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
}

// prepareNamespaceUpdate keeps what only the subresources may change.
func prepareNamespaceUpdate(ns, old *corev1.Namespace) {
	ns.Spec.Finalizers = old.Spec.Finalizers
	ns.Status = old.Status
}

func prepareNamespaceFinalize(ns, old *corev1.Namespace) { ns.Status = old.Status }

func prepareNamespaceStatus(ns, old *corev1.Namespace) { ns.Spec = old.Spec }

// beginNamespaceDelete turns a namespace Terminating with the write that marks it deleted.
func beginNamespaceDelete(ns *corev1.Namespace) { ns.Status.Phase = corev1.NamespaceTerminating }

// holdsNamespace is true while the namespace's own finalizers keep it, besides those in its metadata.
func holdsNamespace(obj Object) bool { return len(obj.(*corev1.Namespace).Spec.Finalizers) > 0 }

func validateNamespace(ns *corev1.Namespace) field.ErrorList {
	errs := validateMeta(ns, false, apivalidation.NameIsDNSLabel)
	for i, f := range ns.Spec.Finalizers {
		errs = append(errs, validateFinalizer(string(f), field.NewPath("spec", "finalizers").Index(i))...)
	}
	return errs
}

func validateNamespaceUpdate(ns, old *corev1.Namespace) field.ErrorList {
	return validateMetaUpdate(ns, old)
}

func validateNamespaceFinalize(ns, old *corev1.Namespace) field.ErrorList {
	errs := validateMetaUpdate(ns, old)
	for i, f := range ns.Spec.Finalizers {
		errs = append(errs, validateFinalizer(string(f), field.NewPath("spec", "finalizers").Index(i))...)
	}
	return errs
}

func validateNamespaceStatus(ns, old *corev1.Namespace) field.ErrorList {
	errs := validateMetaUpdate(ns, old)
	path := field.NewPath("status", "Phase")
	deleting := ns.DeletionTimestamp != nil
	if !deleting && ns.Status.Phase != corev1.NamespaceActive {
		errs = append(errs, field.Invalid(path, ns.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty"))
	}
	if deleting && ns.Status.Phase != corev1.NamespaceTerminating {
		errs = append(errs, field.Invalid(path, ns.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"))
	}
	return errs
}

// validateFinalizer accepts the three names without a domain that Kubernetes knows, and any with one.
func validateFinalizer(name string, path *field.Path) field.ErrorList {
	errs := apivalidation.ValidateFinalizerName(name, path)
	if strings.Contains(name, "/") {
		return errs
	}
	switch name {
	case string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents:
		return errs
	}
	return append(errs, field.Invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified"))
}

func namespaceFields(obj Object) fields.Set {
	return withMetaFields(obj, fields.Set{"status.phase": string(obj.(*corev1.Namespace).Status.Phase)})
}

func namespaceCells(ns *corev1.Namespace) []any {
	return []any{ns.Name, string(ns.Status.Phase), age(ns.CreationTimestamp)}
}
