// Package deployment moves each Deployment's pods from old templates to the present one, by scaling ReplicaSets.
//
// Start with Decide in plan.go: the whole decision, a pure function. Each reconcile is one step from what is observed now; the
// ReplicaSets' changes trigger the next. Annotations and condition reasons are upstream's, because kubectl rollout reads them.
package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/controller/owned"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

type controller struct {
	owned.Family[*appsv1.ReplicaSet]
}

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := controller{owned.Family[*appsv1.ReplicaSet]{Deps: deps, Owner: kind, Owners: kube.Deployments, Dependents: kube.ReplicaSets, Noun: "replica set"}}
	return loop.Run(loop.Config{Name: "deployment", Deps: deps, Reconcile: c.reconcile, Watch: c.Watch, Workers: 8})
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	d, ok := kube.Get[*appsv1.Deployment](c.Cluster, c.Owners, key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || selector.Empty() {
		return 0, nil // validation refuses such a selector
	}
	sets, err := c.Claim(ctx, d, selector, nil)
	if err != nil {
		return 0, err
	}
	plan := Decide(d, sets, c.Clock.Now())
	err = errors.Join(
		loop.ForEach(ctx, plan.Update, func(ctx context.Context, rs *appsv1.ReplicaSet) error { return c.update(ctx, d, sets, rs) }),
		c.create(ctx, d, plan.Create),
		loop.ForEach(ctx, plan.Delete, c.delete),
		c.revise(ctx, d, plan.Revision),
	)
	if err != nil {
		return 0, err
	}
	return plan.Again, c.updateStatus(ctx, d, plan.Status)
}

func (c controller) create(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet) error {
	if rs == nil {
		return nil
	}
	_, err := c.Cluster.Create(ctx, rs)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case apierrors.IsAlreadyExists(err):
		return c.collide(ctx, d, rs)
	case err != nil:
		c.Events.Warning(d, "ReplicaSetCreateError", "Failed to create new replica set %q: %v", rs.Name, err)
		return fmt.Errorf("create replica set %s: %w", rs.Name, err)
	}
	c.tell(d, rs.Name, 0, *rs.Spec.Replicas)
	return nil
}

// tell records that a set was resized, in the words that people look for.
func (c controller) tell(d *appsv1.Deployment, name string, from, to int32) {
	switch {
	case to > from:
		c.Events.Normal(d, "ScalingReplicaSet", "Scaled up replica set %s from %d to %d", name, from, to)
	case to < from:
		c.Events.Normal(d, "ScalingReplicaSet", "Scaled down replica set %s from %d to %d", name, from, to)
	}
}

// collide handles a taken name. A different template behind the same hash counts up the collisions, which makes another hash.
func (c controller) collide(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet) error {
	live, err := c.Cluster.Live(ctx, kube.ReplicaSets, rs.Namespace, rs.Name)
	if err != nil {
		return fmt.Errorf("create replica set %s: %w", rs.Name, err)
	}
	if there, ok := live.(*appsv1.ReplicaSet); ok && metav1.IsControlledBy(there, d) && sameTemplate(&there.Spec.Template, &d.Spec.Template) {
		return nil
	}
	changed := d.DeepCopy()
	changed.Status.CollisionCount = ptr.To(ptr.Deref(d.Status.CollisionCount, 0) + 1)
	if _, err := c.Cluster.UpdateStatus(ctx, changed); err != nil {
		return fmt.Errorf("count hash collision: %w", err)
	}
	return nil
}

func (c controller) update(ctx context.Context, d *appsv1.Deployment, sets []*appsv1.ReplicaSet, rs *appsv1.ReplicaSet) error {
	if _, err := c.Cluster.Update(ctx, rs); err != nil {
		return fmt.Errorf("update replica set %s: %w", rs.Name, err)
	}
	for _, before := range sets {
		if before.Name == rs.Name {
			c.tell(d, rs.Name, *before.Spec.Replicas, *rs.Spec.Replicas)
		}
	}
	return nil
}

func (c controller) delete(ctx context.Context, rs *appsv1.ReplicaSet) error {
	opts := *metav1.NewPreconditionDeleteOptions(string(rs.UID))
	opts.Preconditions.ResourceVersion = &rs.ResourceVersion
	err := c.Cluster.Delete(ctx, kube.ReplicaSets, rs.Namespace, rs.Name, opts)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete replica set %s: %w", rs.Name, err)
	}
	return nil
}

// revise notes the present revision on the Deployment, where kubectl rollout looks for it.
func (c controller) revise(ctx context.Context, d *appsv1.Deployment, revision string) error {
	if revision == "" || d.Annotations[RevisionAnnotation] == revision {
		return nil
	}
	_, err := kube.MergePatch(ctx, c.Cluster, kube.Deployments, d.Namespace, d.Name, map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{RevisionAnnotation: revision}}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("set revision: %w", err)
	}
	return nil
}

func (c controller) updateStatus(ctx context.Context, d *appsv1.Deployment, status appsv1.DeploymentStatus) error {
	// Read again: noting the revision has just changed the object.
	current, ok := kube.Get[*appsv1.Deployment](c.Cluster, c.Owners, d.Namespace, d.Name)
	if !ok || current.Generation != d.Generation {
		return nil
	}
	changed := current.DeepCopy()
	changed.Status = status
	return c.WriteStatus(ctx, current, changed)
}
