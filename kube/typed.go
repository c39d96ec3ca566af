package kube

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// The resources that Cuppa's own loops use.
var (
	Namespaces             = corev1.SchemeGroupVersion.WithResource("namespaces")
	Nodes                  = corev1.SchemeGroupVersion.WithResource("nodes")
	Pods                   = corev1.SchemeGroupVersion.WithResource("pods")
	Services               = corev1.SchemeGroupVersion.WithResource("services")
	ConfigMaps             = corev1.SchemeGroupVersion.WithResource("configmaps")
	Secrets                = corev1.SchemeGroupVersion.WithResource("secrets")
	ServiceAccounts        = corev1.SchemeGroupVersion.WithResource("serviceaccounts")
	Events                 = corev1.SchemeGroupVersion.WithResource("events")
	Endpoints              = corev1.SchemeGroupVersion.WithResource("endpoints")
	EndpointSlices         = discoveryv1.SchemeGroupVersion.WithResource("endpointslices")
	Leases                 = coordinationv1.SchemeGroupVersion.WithResource("leases")
	ReplicationControllers = corev1.SchemeGroupVersion.WithResource("replicationcontrollers")
	ReplicaSets            = appsv1.SchemeGroupVersion.WithResource("replicasets")
	Deployments            = appsv1.SchemeGroupVersion.WithResource("deployments")
	PodDisruptionBudgets   = policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets")

	CertificateSigningRequests = certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")
)

// Get returns one object from a Cluster's memory. The object is shared: copy it before changing it.
func Get[T Object](c Cluster, res schema.GroupVersionResource, namespace, name string) (T, bool) {
	obj, ok := c.Source(res).Get(namespace, name).(T)
	return obj, ok
}

// List returns the objects of a namespace ("": all) from a Cluster's memory, shared and in key order. A nil selector selects everything.
func List[T Object](c Cluster, res schema.GroupVersionResource, namespace string, selector labels.Selector) []T {
	if selector == nil {
		selector = labels.Everything()
	}
	return typed[T](c.Source(res).List(namespace, selector))
}

// Watch calls fn for every object present and every later change; see Source.Watch. Zero values stand for "none".
func Watch[T Object](ctx context.Context, c Cluster, res schema.GroupVersionResource, fn func(old, new T)) error {
	return c.Source(res).Watch(ctx, func(e Event) {
		old, _ := e.Old.(T)
		new, _ := e.New.(T)
		fn(old, new)
	})
}

// ResourceOf says which resource an object belongs to: by its kind if it carries one, else by its Go type.
func ResourceOf(scheme *runtime.Scheme, obj runtime.Object) (schema.GroupVersionResource, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if gvk.Empty() {
		kinds, _, err := scheme.ObjectKinds(obj)
		if err != nil {
			return schema.GroupVersionResource{}, fmt.Errorf("find resource of %T: %w", obj, err)
		}
		gvk = kinds[0]
	}
	res, _ := meta.UnsafeGuessKindToResource(gvk)
	return res, nil
}

// MergePatch sends a JSON merge patch made of v.
func MergePatch(ctx context.Context, c Writer, res schema.GroupVersionResource, namespace, name string, v any, subresources ...string) (Object, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode patch of %s %s/%s: %w", res.Resource, namespace, name, err)
	}
	return c.Patch(ctx, res, namespace, name, types.MergePatchType, data, subresources...)
}
