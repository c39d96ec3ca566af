// Package disruption keeps the status of every PodDisruptionBudget: how many of its pods may be evicted now.
//
// It evicts nothing. Who evicts asks the API server, which takes one from the count for each pod. Start with Decide in plan.go.
package disruption

import (
	"context"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

type controller struct{ loop.Deps }

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := controller{deps}
	return loop.Run(loop.Config{Name: "disruption", Deps: deps, Reconcile: c.reconcile, Watch: c.watch})
}

// watch enqueues a budget when it changes, and whenever one of its pods does so in a way that counts. How many pods their owners want is looked
// up when a budget is reconciled: a change of it is followed by a change of pods.
func (c controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.PodDisruptionBudgets, func(old, new *policyv1.PodDisruptionBudget) {
		if new != nil && (old == nil || !equality.Semantic.DeepEqual(old.Spec, new.Spec) || !equality.Semantic.DeepEqual(old.Status, new.Status)) {
			enqueue(loop.KeyOf(new))
		}
	})
	if err != nil {
		return err
	}
	return kube.Watch(ctx, c.Cluster, kube.Pods, func(old, new *corev1.Pod) {
		if old != nil && new != nil && sameHealth(old, new) {
			return
		}
		for _, pod := range []*corev1.Pod{old, new} {
			if pod != nil {
				c.enqueueBudgets(pod, enqueue)
			}
		}
	})
}

// sameHealth says whether a change of a pod leaves every budget as it was.
func sameHealth(old, new *corev1.Pod) bool {
	return old.UID == new.UID && kube.PodReady(old) == kube.PodReady(new) && maps.Equal(old.Labels, new.Labels) &&
		(old.DeletionTimestamp == nil) == (new.DeletionTimestamp == nil) &&
		equality.Semantic.DeepEqual(metav1.GetControllerOfNoCopy(old), metav1.GetControllerOfNoCopy(new))
}

func (c controller) enqueueBudgets(pod *corev1.Pod, enqueue func(loop.Key)) {
	for _, budget := range kube.List[*policyv1.PodDisruptionBudget](c.Cluster, kube.PodDisruptionBudgets, pod.Namespace, nil) {
		if selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector); err == nil && selector.Matches(labels.Set(pod.Labels)) {
			enqueue(loop.KeyOf(budget))
		}
	}
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	budget, ok := kube.Get[*policyv1.PodDisruptionBudget](c.Cluster, kube.PodDisruptionBudgets, key.Namespace, key.Name)
	if !ok || budget.DeletionTimestamp != nil {
		return 0, nil
	}
	o := Observed{Budget: budget, Now: c.Clock.Now()}
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		o.Fault = err.Error()
	} else {
		o.Pods = kube.Labelled[*corev1.Pod](c.Cluster, kube.Pods, kube.ByLabel, key.Namespace, selector)
	}
	if o.Fault == "" && needsScale(budget) {
		o.Scale, o.Fault = c.scale(o.Pods)
	}
	status, again := Decide(o)
	if equality.Semantic.DeepEqual(status, budget.Status) {
		return again, nil
	}
	changed := budget.DeepCopy()
	changed.Status = status
	if _, err := c.Cluster.UpdateStatus(ctx, changed); err != nil {
		return 0, fmt.Errorf("update status of %s: %w", key, err)
	}
	return again, nil
}

// scale adds up what the owners of pods want. A pod that nobody owns counts nowhere; an owner whose scale cannot be told is a fault.
func (c controller) scale(pods []*corev1.Pod) (sum int32, fault string) {
	counted := map[string]bool{}
	for _, pod := range pods {
		ref := metav1.GetControllerOfNoCopy(pod)
		if ref == nil {
			continue
		}
		uid, replicas, known := c.wish(pod.Namespace, ref)
		if !known {
			return 0, fmt.Sprintf("%s %q, which owns pod %q, has no scale that this controller can read", ref.Kind, ref.Name, pod.Name)
		}
		if !counted[uid] {
			counted[uid] = true
			sum += replicas
		}
	}
	return sum, ""
}

// wish is how many pods an owner wants; a Deployment speaks for its ReplicaSets. An owner that has gone wants none.
func (c controller) wish(namespace string, ref *metav1.OwnerReference) (uid string, replicas int32, known bool) {
	switch ref.Kind {
	case "ReplicaSet":
		rs, ok := kube.Get[*appsv1.ReplicaSet](c.Cluster, kube.ReplicaSets, namespace, ref.Name)
		if !ok || rs.UID != ref.UID {
			return string(ref.UID), 0, true
		}
		above := metav1.GetControllerOfNoCopy(rs)
		if above == nil || above.Kind != "Deployment" {
			return string(rs.UID), ptr.Deref(rs.Spec.Replicas, 0), true
		}
		d, ok := kube.Get[*appsv1.Deployment](c.Cluster, kube.Deployments, namespace, above.Name)
		if !ok || d.UID != above.UID {
			return string(above.UID), 0, true
		}
		return string(d.UID), ptr.Deref(d.Spec.Replicas, 0), true
	case "ReplicationController":
		rc, ok := kube.Get[*corev1.ReplicationController](c.Cluster, kube.ReplicationControllers, namespace, ref.Name)
		if !ok || rc.UID != ref.UID {
			return string(ref.UID), 0, true
		}
		return string(rc.UID), ptr.Deref(rc.Spec.Replicas, 0), true
	}
	return "", 0, false
}
