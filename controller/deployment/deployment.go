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
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

type controller struct{ loop.Deps }

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := controller{deps}
	return loop.Run(loop.Config{Name: "deployment", Deps: deps, Reconcile: c.reconcile, Watch: c.watch, Workers: 8})
}

func (c controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.Deployments, func(old, new *appsv1.Deployment) {
		if new != nil {
			enqueue(loop.KeyOf(new))
		}
	})
	if err != nil {
		return err
	}
	return kube.Watch(ctx, c.Cluster, kube.ReplicaSets, func(old, new *appsv1.ReplicaSet) {
		for _, rs := range []*appsv1.ReplicaSet{old, new} {
			if rs == nil {
				continue
			}
			if owner := metav1.GetControllerOfNoCopy(rs); owner != nil {
				enqueue(loop.Key{Namespace: rs.Namespace, Name: owner.Name})
				continue
			}
			for _, d := range kube.List[*appsv1.Deployment](c.Cluster, kube.Deployments, rs.Namespace, nil) {
				enqueue(loop.KeyOf(d))
			}
		}
	})
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	d, ok := kube.Get[*appsv1.Deployment](c.Cluster, kube.Deployments, key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	plan := Decide(d, kube.List[*appsv1.ReplicaSet](c.Cluster, kube.ReplicaSets, key.Namespace, nil), c.Clock.Now())
	if len(plan.Adopt) > 0 {
		// What is adopted changes the picture, so the rest of the plan waits for the next round.
		return 0, loop.ForEach(ctx, plan.Adopt, func(ctx context.Context, rs *appsv1.ReplicaSet) error { return c.adopt(ctx, d, rs) })
	}
	err := errors.Join(
		loop.ForEach(ctx, plan.Update, c.updateReplicaSet),
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
		return fmt.Errorf("create replicaset %s: %w", rs.Name, err)
	}
	return nil
}

// collide handles a taken name. A different template behind the same hash counts up the collisions, which makes another hash.
func (c controller) collide(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet) error {
	live, err := c.Cluster.Live(ctx, kube.ReplicaSets, rs.Namespace, rs.Name)
	if err != nil {
		return fmt.Errorf("create replicaset %s: %w", rs.Name, err)
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

func (c controller) updateReplicaSet(ctx context.Context, rs *appsv1.ReplicaSet) error {
	_, err := c.Cluster.Update(ctx, rs)
	if err != nil {
		return fmt.Errorf("update replicaset %s: %w", rs.Name, err)
	}
	return nil
}

func (c controller) delete(ctx context.Context, rs *appsv1.ReplicaSet) error {
	opts := *metav1.NewPreconditionDeleteOptions(string(rs.UID))
	opts.Preconditions.ResourceVersion = &rs.ResourceVersion
	err := c.Cluster.Delete(ctx, kube.ReplicaSets, rs.Namespace, rs.Name, opts)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete replicaset %s: %w", rs.Name, err)
	}
	return nil
}

func (c controller) adopt(ctx context.Context, d *appsv1.Deployment, rs *appsv1.ReplicaSet) error {
	live, err := c.Cluster.Live(ctx, kube.Deployments, d.Namespace, d.Name)
	if err != nil {
		return err
	}
	if live.GetUID() != d.UID || live.GetDeletionTimestamp() != nil {
		return nil
	}
	changed := rs.DeepCopy()
	changed.OwnerReferences = append(changed.OwnerReferences, *metav1.NewControllerRef(d, kind))
	return c.updateReplicaSet(ctx, changed)
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
	if equality.Semantic.DeepEqual(d.Status, status) {
		return nil
	}
	// Read again: noting the revision has just changed the object.
	current, ok := kube.Get[*appsv1.Deployment](c.Cluster, kube.Deployments, d.Namespace, d.Name)
	if !ok || current.Generation != d.Generation {
		return nil
	}
	changed := current.DeepCopy()
	changed.Status = status
	_, err := c.Cluster.UpdateStatus(ctx, changed)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update status: %w", err)
	}
	return nil
}
