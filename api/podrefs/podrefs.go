// Package podrefs says which objects of its namespace a pod refers to: what its node must be able to read, and may. The node and whoever lets
// it read ask the same function, so that neither knows a reference that the other does not. It reads nothing itself. Start with Of.
package podrefs

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Kind is the plural name of a resource of the core group.
type Kind string

// The kinds that pods refer to.
const (
	Secret         Kind = "secrets"
	ConfigMap      Kind = "configmaps"
	Claim          Kind = "persistentvolumeclaims"
	ServiceAccount Kind = "serviceaccounts"
)

// Ref is one object in the pod's namespace.
type Ref struct {
	Kind Kind
	Name string
}

// Of returns what a pod refers to, each object once, in no certain order. A mirror pod has nothing: it is a node's own word.
func Of(pod *corev1.Pod) []Ref {
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return nil
	}
	return InSpec(pod)
}

// InSpec is Of for any pod, a mirror pod too.
func InSpec(pod *corev1.Pod) []Ref {
	var out refs
	spec := &pod.Spec
	out.add(ServiceAccount, spec.ServiceAccountName)
	for _, s := range spec.ImagePullSecrets {
		out.add(Secret, s.Name)
	}
	for i := range spec.InitContainers {
		out.env(spec.InitContainers[i].Env, spec.InitContainers[i].EnvFrom)
	}
	for i := range spec.Containers {
		out.env(spec.Containers[i].Env, spec.Containers[i].EnvFrom)
	}
	for i := range spec.EphemeralContainers {
		out.env(spec.EphemeralContainers[i].Env, spec.EphemeralContainers[i].EnvFrom)
	}
	for i := range spec.Volumes {
		out.volume(pod.Name, &spec.Volumes[i])
	}
	return out
}

type refs []Ref

func (r *refs) add(kind Kind, name string) {
	if ref := (Ref{kind, name}); name != "" && !slices.Contains(*r, ref) {
		*r = append(*r, ref)
	}
}

func (r *refs) env(vars []corev1.EnvVar, from []corev1.EnvFromSource) {
	for i := range from {
		if ref := from[i].ConfigMapRef; ref != nil {
			r.add(ConfigMap, ref.Name)
		}
		if ref := from[i].SecretRef; ref != nil {
			r.add(Secret, ref.Name)
		}
	}
	for i := range vars {
		if vars[i].ValueFrom == nil {
			continue
		}
		if ref := vars[i].ValueFrom.ConfigMapKeyRef; ref != nil {
			r.add(ConfigMap, ref.Name)
		}
		if ref := vars[i].ValueFrom.SecretKeyRef; ref != nil {
			r.add(Secret, ref.Name)
		}
	}
}

func (r *refs) volume(pod string, v *corev1.Volume) {
	switch {
	case v.ConfigMap != nil:
		r.add(ConfigMap, v.ConfigMap.Name)
	case v.Secret != nil:
		r.add(Secret, v.Secret.SecretName)
	case v.PersistentVolumeClaim != nil:
		r.add(Claim, v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		r.add(Claim, pod+"-"+v.Name) // the claim that is made of the template
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if s := v.Projected.Sources[i].ConfigMap; s != nil {
				r.add(ConfigMap, s.Name)
			}
			if s := v.Projected.Sources[i].Secret; s != nil {
				r.add(Secret, s.Name)
			}
		}
	default:
		r.driver(v)
	}
}

// driver adds the secret with which storage elsewhere is opened.
func (r *refs) driver(v *corev1.Volume) {
	var secret *corev1.LocalObjectReference
	switch {
	case v.CSI != nil:
		secret = v.CSI.NodePublishSecretRef
	case v.CephFS != nil:
		secret = v.CephFS.SecretRef
	case v.Cinder != nil:
		secret = v.Cinder.SecretRef
	case v.FlexVolume != nil:
		secret = v.FlexVolume.SecretRef
	case v.RBD != nil:
		secret = v.RBD.SecretRef
	case v.ScaleIO != nil:
		secret = v.ScaleIO.SecretRef
	case v.ISCSI != nil:
		secret = v.ISCSI.SecretRef
	case v.StorageOS != nil:
		secret = v.StorageOS.SecretRef
	case v.AzureFile != nil:
		r.add(Secret, v.AzureFile.SecretName)
	}
	if secret != nil {
		r.add(Secret, secret.Name)
	}
}
