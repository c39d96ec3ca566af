package kube

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
)

// Index is a way to find objects other than by their name. Its address is its identity, so declare it once, as a variable: here, if more than one
// loop asks, otherwise beside the loop that does. A Source makes it on first use and drops it when nobody asks any more.
type Index struct {
	Name string
	// Keys are what an object is found under; none: it is not found. A pure function of the object.
	Keys func(Object) []string
	// Metadata says that Keys looks at metadata alone. Only then may it be asked of Cluster.Metadata.
	Metadata bool
}

// The table of indexes that several loops use.
var (
	// ByOwner: the UIDs of an object's owners, controlling or not.
	ByOwner = &Index{"owner", owners, true}
	// ByLabel: every label of an object; see LabelKey.
	ByLabel = &Index{"label", labelKeys, true}
	// Orphans: every label of an object that no controller owns and that is not being deleted; see LabelKey.
	Orphans = &Index{"orphan", orphanKeys, true}
	// ByService: the Service that an EndpointSlice belongs to, as NAMESPACE/NAME.
	ByService = &Index{"service", serviceKeys, true}
	// ByNode: the node that a pod is bound to.
	ByNode = &Index{"node", nodeKeys, false}
	// BySelector: one label that an object's own selector asks for (Services, ReplicaSets and their like), or that it asks for none; see Selecting.
	BySelector = &Index{"selector", selectorKeys, false}
)

// LabelKey is the key of ByLabel and Orphans: objects of a namespace with a label of that value.
func LabelKey(namespace, label, value string) string { return namespace + "/" + label + "=" + value }

// By returns the objects under a key of an index, shared and in key order.
func By[T Object](c Cluster, res schema.GroupVersionResource, index *Index, key string) []T {
	return typed[T](c.Source(res).By(index, key))
}

// Labelled returns the objects of a namespace that a selector matches, by way of an index over labels (ByLabel or Orphans) if the selector
// names a value for any.
func Labelled[T Object](c Cluster, res schema.GroupVersionResource, index *Index, namespace string, selector labels.Selector) []T {
	source := c.Source(res)
	requirements, selectable := selector.Requirements()
	if !selectable {
		return nil
	}
	for _, r := range requirements {
		if op := r.Operator(); op != selection.Equals && op != selection.DoubleEquals && (op != selection.In || r.Values().Len() != 1) {
			continue
		}
		value, _ := r.Values().PopAny()
		return selected[T](source.By(index, LabelKey(namespace, r.Key(), value)), selector, nil)
	}
	return selected[T](source.List(namespace, selector), selector, index)
}

// selected keeps the objects that the selector matches, and that the index, if there is one, finds at all.
func selected[T Object](objs []Object, selector labels.Selector, index *Index) []T {
	var out []T
	for _, obj := range objs {
		if t, ok := obj.(T); ok && selector.Matches(labels.Set(obj.GetLabels())) && (index == nil || len(index.Keys(obj)) > 0) {
			out = append(out, t)
		}
	}
	return out
}

// Selecting returns the objects of a namespace whose own selectors may match labels: few more than those that do.
func Selecting[T Object](c Cluster, res schema.GroupVersionResource, namespace string, set map[string]string) []T {
	source := c.Source(res)
	objs := source.By(BySelector, namespace+"/")
	for label, value := range set {
		objs = append(objs, source.By(BySelector, LabelKey(namespace, label, value))...)
	}
	return typed[T](objs)
}

func typed[T Object](objs []Object) []T {
	out := make([]T, 0, len(objs))
	for _, obj := range objs {
		if t, ok := obj.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

func owners(obj Object) []string {
	var out []string
	for _, ref := range obj.GetOwnerReferences() {
		out = append(out, string(ref.UID))
	}
	return out
}

func labelKeys(obj Object) []string {
	set := obj.GetLabels()
	if len(set) == 0 {
		return nil
	}
	out := make([]string, 0, len(set))
	for label, value := range set {
		out = append(out, LabelKey(obj.GetNamespace(), label, value))
	}
	return out
}

func orphanKeys(obj Object) []string {
	if obj.GetDeletionTimestamp() != nil || metav1.GetControllerOfNoCopy(obj) != nil {
		return nil
	}
	return labelKeys(obj)
}

func serviceKeys(obj Object) []string {
	if name := obj.GetLabels()[discoveryv1.LabelServiceName]; name != "" {
		return []string{obj.GetNamespace() + "/" + name}
	}
	return nil
}

func nodeKeys(obj Object) []string {
	if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
		return []string{pod.Spec.NodeName}
	}
	return nil
}

// selectorKeys is one key: a label of the lowest name that must have one value, or the bare namespace. A Service that selects nothing is not found.
func selectorKeys(obj Object) []string {
	var must map[string]string
	switch o := obj.(type) {
	case *corev1.Service:
		if must = o.Spec.Selector; len(must) == 0 {
			return nil
		}
	case *corev1.ReplicationController:
		if must = o.Spec.Selector; len(must) == 0 {
			return nil
		}
	case *appsv1.ReplicaSet:
		must = matchLabels(o.Spec.Selector)
	case *appsv1.Deployment:
		must = matchLabels(o.Spec.Selector)
	case *appsv1.StatefulSet:
		must = matchLabels(o.Spec.Selector)
	case *appsv1.DaemonSet:
		must = matchLabels(o.Spec.Selector)
	default:
		return nil
	}
	if len(must) == 0 {
		return []string{obj.GetNamespace() + "/"}
	}
	least := ""
	for label := range must {
		if least == "" || label < least {
			least = label
		}
	}
	return []string{LabelKey(obj.GetNamespace(), least, must[least])}
}

func matchLabels(s *metav1.LabelSelector) map[string]string {
	if s == nil {
		return nil
	}
	return s.MatchLabels
}
