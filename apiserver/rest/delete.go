package rest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/apiserver/admission"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Deletion is the outcome of a delete.
type Deletion struct {
	Result *Result // the object as it was removed, or as it waits for its finalizers or its grace period to end
	Gone   bool    // it is removed
}

// Delete removes the object, or marks it as being deleted when something still holds it.
func (s *Service) Delete(ctx context.Context, c *Call, opts metav1.DeleteOptions) (*Deletion, error) {
	if err := s.begin(c); err != nil {
		return nil, err
	}
	now, err := s.present(ctx, c, false)
	if err != nil {
		return nil, err
	}
	for {
		outcome, failed := s.tryDelete(ctx, c, now, opts)
		unwritten := outcome != nil && outcome.Result != nil && outcome.Result.unwritten
		again, more, err := s.again(ctx, c, now, unwritten, failed)
		if err != nil {
			return nil, err
		}
		if !more {
			return outcome, nil
		}
		now = again
	}
}

func (s *Service) tryDelete(ctx context.Context, c *Call, now present, opts metav1.DeleteOptions) (*Deletion, error) {
	if err := s.checkPreconditions(c, now.object, opts.Preconditions); err != nil {
		return nil, err
	}
	req := &admission.Request{
		Operation: admission.Delete, Kind: c.Kind, Namespace: c.Namespace, Name: c.Name,
		Old: now.object, User: c.User, DryRun: c.DryRun, Warn: c.Warn,
	}
	if err := s.Admission.Mutate(ctx, req); err != nil {
		return nil, err
	}
	if err := s.Admission.Validate(ctx, req); err != nil {
		return nil, err
	}
	marked, changed := markDeleted(c.Kind, now.object, opts, s.Now())
	if !deleted(c.Kind, marked) {
		if !changed {
			return &Deletion{Result: s.unchanged(s.row(c), now)}, nil
		}
		result, err := s.storeChanged(ctx, c, now, marked)
		return &Deletion{Result: result}, err
	}
	if c.DryRun {
		return &Deletion{Result: &Result{Object: now.object, unwritten: true}, Gone: true}, nil
	}
	r := s.row(c)
	result, err := s.remove(ctx, r, r.key(c.Namespace, c.Name), now, now.object.DeepCopyObject().(registry.Object))
	return &Deletion{Result: result, Gone: true}, err
}

// remove takes the object out of the store. obj, its last state, is the result and is taken over.
func (s *Service) remove(ctx context.Context, r *row, key string, now present, obj registry.Object) (*Result, error) {
	revision, err := s.Store.Delete(ctx, key, now.kv.ModRevision)
	if err != nil {
		return nil, s.raced(r, nil, err)
	}
	s.Admission.Gone(r.kind, now.object)
	obj.SetResourceVersion(strconv.FormatInt(revision, 10))
	return &Result{Object: obj}, nil
}

func (s *Service) checkPreconditions(c *Call, obj registry.Object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	gr := s.row(c).gr
	if p.UID != nil && *p.UID != obj.GetUID() {
		return apierrors.NewConflict(gr, c.Name, fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, obj.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != obj.GetResourceVersion() {
		return apierrors.NewConflict(gr, c.Name, fmt.Errorf(
			"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, obj.GetResourceVersion()))
	}
	return nil
}

// deleted is true when the object is marked and nothing holds it any more.
func deleted(kind *registry.Kind, obj registry.Object) bool {
	grace := obj.GetDeletionGracePeriodSeconds()
	return obj.GetDeletionTimestamp() != nil && len(obj.GetFinalizers()) == 0 &&
		(grace == nil || *grace == 0) && (kind.HoldsDelete == nil || !kind.HoldsDelete(obj))
}

// markDeleted returns a copy of the object with the wish to delete it written down: timestamp, grace and the finalizers of
// the propagation policy. changed is false when the wish was there already.
func markDeleted(kind *registry.Kind, old registry.Object, opts metav1.DeleteOptions, now time.Time) (obj registry.Object, changed bool) {
	obj = old.DeepCopyObject().(registry.Object)
	finalizers := propagation(obj.GetFinalizers(), opts)
	if !slices.Equal(finalizers, obj.GetFinalizers()) {
		obj.SetFinalizers(finalizers)
		changed = true
	}
	grace := int64(0)
	if kind.GracefulDelete != nil {
		grace = kind.GracefulDelete(obj, opts.GracePeriodSeconds)
	}
	if old.GetDeletionTimestamp() != nil {
		return obj, shorten(kind, obj, opts, grace) || changed
	}
	stamp := metav1.Time{Time: now.Add(time.Duration(grace) * time.Second).Truncate(time.Second)}
	obj.SetDeletionTimestamp(&stamp)
	obj.SetDeletionGracePeriodSeconds(&grace)
	// A wish to delete is a change of the wanted state, which observers of generations want to see.
	if obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	if kind.BeginDelete != nil {
		kind.BeginDelete(obj)
	}
	return obj, true
}

// shorten lets a second delete end the grace period of the first earlier, never later.
func shorten(kind *registry.Kind, obj registry.Object, opts metav1.DeleteOptions, grace int64) bool {
	had := obj.GetDeletionGracePeriodSeconds()
	if kind.GracefulDelete == nil || opts.GracePeriodSeconds == nil || had == nil || grace >= *had {
		return false
	}
	stamp := metav1.Time{Time: obj.GetDeletionTimestamp().Add(time.Duration(grace-*had) * time.Second)}
	obj.SetDeletionTimestamp(&stamp)
	obj.SetDeletionGracePeriodSeconds(&grace)
	if obj.GetGeneration() > 0 {
		obj.SetGeneration(obj.GetGeneration() + 1)
	}
	return true
}

// propagation returns the finalizers with those of the asked propagation in place. A policy that is not given leaves them alone.
func propagation(finalizers []string, opts metav1.DeleteOptions) []string {
	var orphan, foreground bool
	switch {
	case wantsOrphans(opts) != nil:
		orphan = *wantsOrphans(opts)
	case opts.PropagationPolicy != nil:
		orphan = *opts.PropagationPolicy == metav1.DeletePropagationOrphan
		foreground = *opts.PropagationPolicy == metav1.DeletePropagationForeground
	default:
		return finalizers
	}
	out := slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if orphan {
		out = append(out, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		out = append(out, metav1.FinalizerDeleteDependents)
	}
	return out
}

// wantsOrphans is the old form of the policy, which clients still send.
func wantsOrphans(opts metav1.DeleteOptions) *bool {
	//lint:ignore SA1019 it is part of the API for as long as clients may send it
	return opts.OrphanDependents
}
