package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

func podTemplates() *registry.Kind {
	return &registry.Kind{
		GVK:            coreKind("PodTemplate"),
		Resource:       "podtemplates",
		Singular:       "podtemplate",
		Namespaced:     true,
		StoragePrefix:  "podtemplates",
		New:            func() registry.Object { return &corev1.PodTemplate{} },
		NewList:        func() runtime.Object { return &corev1.PodTemplateList{} },
		Default:        meta.One(func(t *corev1.PodTemplate) { podspec.DefaultTemplate(&t.Template) }),
		PrepareCreate:  meta.One(preparePodTemplate),
		PrepareUpdate:  meta.Two(preparePodTemplateUpdate),
		ValidateCreate: meta.Faults(validatePodTemplate),
		ValidateUpdate: meta.FaultsOf(validatePodTemplateUpdate),
		Warnings:       podTemplateWarnings,
		Columns:        podTemplateColumns(),
		Cells:          meta.Cells(podTemplateCells),
	}
}

func preparePodTemplate(t *corev1.PodTemplate) {
	t.Generation = 1
	podspec.DropGatedTemplate(&t.Template)
}

func preparePodTemplateUpdate(t, old *corev1.PodTemplate) {
	podspec.DropGatedTemplate(&t.Template)
	meta.BumpGeneration(t, old, !meta.Same(t.Template, old.Template))
}
