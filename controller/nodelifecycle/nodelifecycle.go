// Package nodelifecycle judges nodes by their Leases: it marks silent ones, taints them, and evicts the pods that do not tolerate it.
// Pods of nodes that no longer exist are removed.
//
// Start with Decide in plan.go.
package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

type controller struct {
	loop.Deps
	mu    sync.Mutex
	heard map[string]heard
}

// heard is a node's last sign of life and when it was first seen here.
type heard struct {
	renewed time.Time
	at      time.Time
}

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := &controller{Deps: deps, heard: map[string]heard{}}
	return loop.Run(loop.Config{Name: "nodelifecycle", Deps: deps, Reconcile: c.reconcile, Watch: c.watch})
}

func (c *controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.Nodes, func(old, new *corev1.Node) {
		if new == nil {
			new = old
		}
		enqueue(loop.KeyOf(new))
	})
	if err != nil {
		return err
	}
	return kube.Watch(ctx, c.Cluster, kube.Pods, func(old, new *corev1.Pod) {
		// A pod that has just been bound may be on a node that is tainted, or gone.
		if new != nil && new.Spec.NodeName != "" && (old == nil || old.Spec.NodeName == "") {
			enqueue(loop.Key{Name: new.Spec.NodeName})
		}
	})
}

func (c *controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	pods := kube.By[*corev1.Pod](c.Cluster, kube.Pods, kube.ByNode, key.Name)
	node, ok := kube.Get[*corev1.Node](c.Cluster, kube.Nodes, "", key.Name)
	if !ok {
		return 0, c.orphans(ctx, key.Name, pods)
	}
	now := c.Clock.Now()
	plan := Decide(node, pods, c.lastHeard(node, now), now)
	return plan.Again, c.apply(ctx, node, plan)
}

// lastHeard notes and returns when the node's newest sign of life was first seen.
func (c *controller) lastHeard(node *corev1.Node, now time.Time) time.Time {
	renewed := node.CreationTimestamp.Time
	for _, cond := range node.Status.Conditions {
		if cond.LastHeartbeatTime.After(renewed) {
			renewed = cond.LastHeartbeatTime.Time
		}
	}
	lease, ok := kube.Get[*coordinationv1.Lease](c.Cluster, kube.Leases, corev1.NamespaceNodeLease, node.Name)
	if ok && lease.Spec.RenewTime != nil && lease.Spec.RenewTime.After(renewed) {
		renewed = lease.Spec.RenewTime.Time
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.heard[node.Name]; ok && last.renewed.Equal(renewed) {
		return last.at
	}
	c.heard[node.Name] = heard{renewed: renewed, at: now}
	return now
}

func (c *controller) apply(ctx context.Context, node *corev1.Node, plan Plan) error {
	var errs []error
	if len(plan.Conditions) > 0 {
		_, err := kube.MergePatch(ctx, c.Cluster, kube.Nodes, "", node.Name,
			map[string]any{"metadata": map[string]any{"resourceVersion": node.ResourceVersion},
				"status": map[string]any{"conditions": merge(node.Status.Conditions, plan.Conditions)}}, "status")
		errs = append(errs, err)
	} else if plan.Retaint {
		taints := plan.Taints
		if taints == nil {
			taints = []corev1.Taint{}
		}
		_, err := kube.MergePatch(ctx, c.Cluster, kube.Nodes, "", node.Name,
			map[string]any{"metadata": map[string]any{"resourceVersion": node.ResourceVersion}, "spec": map[string]any{"taints": taints}})
		errs = append(errs, err)
	}
	errs = append(errs,
		loop.ForEach(ctx, plan.Unready, c.unready),
		loop.ForEach(ctx, plan.Evict, func(ctx context.Context, pod *corev1.Pod) error { return c.remove(ctx, pod, metav1.DeleteOptions{}) }))
	return errors.Join(errs...)
}

func merge(have, set []corev1.NodeCondition) []corev1.NodeCondition {
	out := append([]corev1.NodeCondition{}, have...)
next:
	for _, c := range set {
		for i := range out {
			if out[i].Type == c.Type {
				out[i] = c
				continue next
			}
		}
		out = append(out, c)
	}
	return out
}

func (c *controller) unready(ctx context.Context, pod *corev1.Pod) error {
	changed := pod.DeepCopy()
	cond := kube.PodCondition(changed, corev1.PodReady)
	cond.Status, cond.Reason, cond.LastTransitionTime = corev1.ConditionFalse, "NodeNotReady", metav1.NewTime(c.Clock.Now())
	_, err := c.Cluster.UpdateStatus(ctx, changed)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("mark pod %s/%s unready: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// orphans removes at once the pods of a node that no longer exists: nobody is left to end them.
func (c *controller) orphans(ctx context.Context, node string, pods []*corev1.Pod) error {
	c.mu.Lock()
	delete(c.heard, node)
	c.mu.Unlock()
	if len(pods) == 0 {
		return nil
	}
	if _, err := c.Cluster.Live(ctx, kube.Nodes, "", node); !apierrors.IsNotFound(err) {
		return err
	}
	return loop.ForEach(ctx, pods, func(ctx context.Context, pod *corev1.Pod) error {
		return c.remove(ctx, pod, *metav1.NewDeleteOptions(0))
	})
}

func (c *controller) remove(ctx context.Context, pod *corev1.Pod, opts metav1.DeleteOptions) error {
	opts.Preconditions = &metav1.Preconditions{UID: &pod.UID}
	err := c.Cluster.Delete(ctx, kube.Pods, pod.Namespace, pod.Name, opts)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
