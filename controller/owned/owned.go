// Package owned is the shape of controllers whose objects own others: Deployments and ReplicaSets, ReplicaSets and pods, and so on.
//
// It claims what belongs to an owner (Claim decides, Family.Claim does), makes and deletes dependents without a herd, records what happened as
// Events with upstream's words, plans pods that are all alike (replicas.go), and keeps history (revision.go). A controller brings its plan, a pure function, and
// uses a Family to carry it out. It is not a loop: that is controller/loop. Start with Family; controller/replication is the smallest living example.
package owned

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/kube"
)

// Family is one kind of owner with one kind of dependent, D.
type Family[D kube.Object] struct {
	loop.Deps
	Owner      schema.GroupVersionKind     // as owner references name it
	Owners     schema.GroupVersionResource // where owners are read from
	Dependents schema.GroupVersionResource
	Noun       string // of one dependent, in events and errors: "pod"
}

// Watch enqueues owners: each when it changes itself, the one that a dependent names when the dependent changes, and those that may adopt an
// orphan when that appears or changes. It is a loop's Watch.
func (f Family[D]) Watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := f.Cluster.Source(f.Owners).Watch(ctx, func(e kube.Event) {
		if e.New != nil {
			enqueue(loop.KeyOf(e.New))
		}
	})
	if err != nil {
		return err
	}
	return f.Cluster.Source(f.Dependents).Watch(ctx, func(e kube.Event) {
		for _, obj := range []kube.Object{e.Old, e.New} {
			if obj == nil {
				continue
			}
			if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
				if ref.Kind == f.Owner.Kind {
					enqueue(loop.Key{Namespace: obj.GetNamespace(), Name: ref.Name})
				}
				continue
			}
			for _, owner := range kube.Selecting[kube.Object](f.Cluster, f.Owners, obj.GetNamespace(), obj.GetLabels()) {
				enqueue(loop.KeyOf(owner))
			}
		}
	})
}

// Claim makes the owner's references right, and returns the dependents that are its own then. An error means that nobody knows whose some of them
// are: the caller begins again later, and decides nothing meanwhile. Wanted refuses orphans; nil refuses none.
func (f Family[D]) Claim(ctx context.Context, owner kube.Object, selector labels.Selector, wanted func(D) bool) ([]D, error) {
	claims := Claim(owner, selector, f.candidates(owner, selector), wanted)
	if !claims.Changes() {
		return claims.Own, nil
	}
	if len(claims.Adopt) > 0 {
		// The server's own word that the owner still lives: memory may show one that was deleted and made anew.
		live, err := f.Cluster.Live(ctx, f.Owners, owner.GetNamespace(), owner.GetName())
		if err == nil {
			err = otherOwner(owner, live)
		}
		if err != nil {
			return nil, fmt.Errorf("adopt %ss: %w", f.Noun, err)
		}
	}
	ref := *metav1.NewControllerRef(owner, f.Owner)
	err := errors.Join(
		loop.ForEach(ctx, claims.Adopt, func(ctx context.Context, obj D) error { return f.patch(ctx, "adopt", obj, adoption(obj, ref)) }),
		loop.ForEach(ctx, claims.Release, func(ctx context.Context, obj D) error { return f.patch(ctx, "release", obj, release(obj, owner)) }),
	)
	if err != nil {
		return nil, err
	}
	return Claim(owner, selector, f.candidates(owner, selector), wanted).Own, nil
}

// candidates are what the owner controls, and the orphans that its selector matches.
func (f Family[D]) candidates(owner kube.Object, selector labels.Selector) []D {
	out := kube.By[D](f.Cluster, f.Dependents, kube.ByOwner, string(owner.GetUID()))
	for _, obj := range kube.Labelled[D](f.Cluster, f.Dependents, kube.Orphans, owner.GetNamespace(), selector) {
		if !metav1.IsControlledBy(obj, owner) {
			out = append(out, obj)
		}
	}
	return out
}

func (f Family[D]) patch(ctx context.Context, verb string, obj D, patch map[string]any) error {
	_, err := kube.MergePatch(ctx, f.Cluster, f.Dependents, obj.GetNamespace(), obj.GetName(), patch)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s %s %s: %w", verb, f.Noun, obj.GetName(), err)
	}
	return nil
}

// Create makes dependents in batches of 1, 2, 4 and so on. The first batch in which one fails is the last: a quota or a broken template costs one
// refused request, not hundreds. A namespace that is being deleted takes nothing, which is no failure.
func (f Family[D]) Create(ctx context.Context, owner kube.Object, objs []D) error {
	for size := 1; len(objs) > 0; size *= 2 {
		batch := objs[:min(size, len(objs))]
		objs = objs[len(batch):]
		if err := loop.ForEach(ctx, batch, func(ctx context.Context, obj D) error { return f.create(ctx, owner, obj) }); err != nil {
			return err
		}
	}
	return nil
}

func (f Family[D]) create(ctx context.Context, owner kube.Object, obj D) error {
	made, err := f.Cluster.Create(ctx, obj)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case err != nil:
		f.Events.Warning(owner, "FailedCreate", "Error creating: %v", err)
		return fmt.Errorf("create %s: %w", f.Noun, err)
	}
	f.Events.Normal(owner, "SuccessfulCreate", "Created %s: %s", f.Noun, made.GetName())
	return nil
}

// Delete removes dependents, all at once. One that is gone already is no failure.
func (f Family[D]) Delete(ctx context.Context, owner kube.Object, objs []D) error {
	return loop.ForEach(ctx, objs, func(ctx context.Context, obj D) error {
		err := f.Cluster.Delete(ctx, f.Dependents, obj.GetNamespace(), obj.GetName(), *metav1.NewPreconditionDeleteOptions(string(obj.GetUID())))
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			f.Events.Warning(owner, "FailedDelete", "Error deleting: %v", err)
			return fmt.Errorf("delete %s %s: %w", f.Noun, obj.GetName(), err)
		}
		f.Events.Normal(owner, "SuccessfulDelete", "Deleted %s: %s", f.Noun, obj.GetName())
		return nil
	})
}

// WriteStatus writes an owner's status if that is different from the one it has; after is a changed copy of before. An owner that is gone needs none.
func (f Family[D]) WriteStatus(ctx context.Context, before, after kube.Object) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	if _, err := f.Cluster.UpdateStatus(ctx, after); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update status: %w", err)
	}
	return nil
}
