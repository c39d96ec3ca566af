package core

import (
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
)

// defaultReplicationController takes the selector, and the controller's own labels, from the template where they are not given.
func defaultReplicationController(rc *corev1.ReplicationController) {
	meta.DefaultTo(&rc.Spec.Replicas, 1)
	if rc.Spec.Template == nil {
		return
	}
	labels := rc.Spec.Template.Labels
	if labels != nil && len(rc.Spec.Selector) == 0 {
		rc.Spec.Selector = maps.Clone(labels)
	}
	if labels != nil && len(rc.Labels) == 0 {
		rc.Labels = maps.Clone(labels)
	}
	podspec.DefaultTemplate(rc.Spec.Template)
}
