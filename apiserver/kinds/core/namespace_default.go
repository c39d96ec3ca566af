package core

import (
	corev1 "k8s.io/api/core/v1"
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
