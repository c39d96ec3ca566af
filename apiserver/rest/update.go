package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/admission"
	"github.com/cuppa-project/cuppa/apiserver/patch"
	"github.com/cuppa-project/cuppa/apiserver/registry"
	"github.com/cuppa-project/cuppa/apiserver/storage"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// staleText is what clients look for when somebody else was faster.
const staleText = "the object has been modified; please apply your changes to the latest version and try again"

// present is what is stored now.
type present struct {
	kv     storage.KV
	object registry.Object // in the row's version; shared, read-only
	cached bool            // it came from memory and may be a moment old
}

// change makes the wanted object from the present one, which it must not write to. managed says that managedFields are already right.
type change func(old registry.Object) (obj registry.Object, managed bool, err error)

// Update replaces the object, or the part of it that a subresource shows, by obj. Obj is not changed.
func (s *Service) Update(ctx context.Context, c *Call, obj runtime.Object) (*Result, error) {
	if err := s.begin(c); err != nil {
		return nil, err
	}
	if meta, ok := obj.(metav1.Object); ok {
		if err := checkName(c, meta); err != nil {
			return nil, err
		}
	}
	result, err := s.replace(ctx, c, obj)
	fresh, ok := obj.(registry.Object)
	if !apierrors.IsNotFound(err) || !ok || c.Sub != nil || !c.Kind.CreateOnUpdate || fresh.GetUID() != "" || fresh.GetResourceVersion() != "" {
		return result, err
	}
	if err := s.mayCreate(ctx, c); err != nil {
		return nil, err
	}
	return s.Create(ctx, c, fresh.DeepCopyObject().(registry.Object))
}

func (s *Service) replace(ctx context.Context, c *Call, obj runtime.Object) (*Result, error) {
	return s.update(ctx, c, func(old registry.Object) (registry.Object, bool, error) {
		wanted := obj.DeepCopyObject()
		if c.Sub != nil && c.Sub.Into != nil {
			changed, err := c.Sub.Into(old, wanted)
			if err != nil {
				return nil, false, err
			}
			keepVersion(changed, wanted)
			return changed, false, nil
		}
		typed, ok := wanted.(registry.Object)
		if !ok {
			return nil, false, fmt.Errorf("%T is not a stored object", wanted)
		}
		if c.Kind.Default != nil {
			c.Kind.Default(typed)
		}
		return typed, false, nil
	})
}

// keepVersion carries the client's precondition from a subresource's object over to the parent.
func keepVersion(parent registry.Object, sub runtime.Object) {
	if meta, ok := sub.(metav1.Object); ok {
		parent.SetResourceVersion(meta.GetResourceVersion())
		if meta.GetUID() != "" {
			parent.SetUID(meta.GetUID())
		}
	}
}

// update changes the stored object, and does so again when somebody else was faster and the client did not insist on a version.
func (s *Service) update(ctx context.Context, c *Call, f change) (*Result, error) {
	now, err := s.present(ctx, c, false)
	if err != nil {
		return nil, err
	}
	for {
		result, failed := s.tryUpdate(ctx, c, now, f)
		again, more, err := s.again(ctx, c, now, result != nil && result.unwritten, failed)
		if err != nil {
			return nil, err
		}
		if !more {
			return result, nil
		}
		now = again
	}
}

// again decides whether an attempt must be repeated, and on what. Memory can be a moment old, so a refusal that is based on it, and a
// write that it makes look unnecessary, count only after a look at the store.
func (s *Service) again(ctx context.Context, c *Call, now present, unwritten bool, err error) (next present, more bool, _ error) {
	raced := errors.Is(err, errkind.Conflict) || errors.Is(err, errkind.NotFound)
	switch {
	case apierrors.IsServiceUnavailable(err): // the write may have happened, and what is done already must not be done twice
		return present{}, false, err
	case err == nil && !(unwritten && now.cached):
		return present{}, false, nil
	case err != nil && !raced && !now.cached:
		return present{}, false, err
	case ctx.Err() != nil:
		return present{}, false, ctx.Err()
	}
	next, liveErr := s.present(ctx, c, true)
	switch {
	case liveErr != nil:
		return present{}, false, liveErr
	case !raced && next.kv.ModRevision == now.kv.ModRevision:
		return present{}, false, err
	}
	return next, true, nil
}

// present reads the object, from memory if that will do.
func (s *Service) present(ctx context.Context, c *Call, live bool) (present, error) {
	r := s.row(c)
	if !live {
		if entry, ok := r.table.Get(cacheKey(c.Namespace, c.Name)); ok {
			obj, err := r.view(ctx, entry)
			if err != nil {
				return present{}, err
			}
			return present{storage.KV{Value: entry.Stored(), ModRevision: entry.Revision()}, obj, true}, nil
		}
	}
	kv, _, err := s.Store.Get(ctx, r.key(c.Namespace, c.Name))
	switch {
	case errors.Is(err, errkind.NotFound):
		return present{}, apierrors.NewNotFound(r.gr, c.Name)
	case err != nil:
		return present{}, storeError(err)
	}
	stored, err := decode(r.stored, kv.Value, kv.ModRevision)
	if err != nil {
		return present{}, err
	}
	obj, err := patch.Convert(ctx, r.stored, r.kind, stored)
	return present{kv: kv, object: obj}, err
}

func (s *Service) tryUpdate(ctx context.Context, c *Call, now present, f change) (*Result, error) {
	obj, managed, err := f(now.object)
	if err != nil {
		return nil, err
	}
	if err := s.checkVersion(c, now, obj); err != nil {
		return nil, err
	}
	old := now.object
	inherit(obj, old)
	if !managed {
		dropDoubleOwners(c, obj)
		if obj, err = s.Fields.Update(c.Kind, c.subName(), old, obj, c.Manager); err != nil {
			return nil, err
		}
	}
	req := &admission.Request{
		Operation: admission.Update, Kind: c.Kind, Subresource: c.subName(), Namespace: c.Namespace, Name: c.Name,
		Object: obj, Old: old, User: c.User, DryRun: c.DryRun, Warn: c.Warn,
	}
	if !c.admitted {
		if err := s.Admission.Mutate(ctx, req); err != nil {
			return nil, err
		}
		inherit(req.Object, old)
	}
	prepare(c, req.Object, old)
	result, err := s.admitUpdate(ctx, c, now, req)
	req.Finish(err == nil && !c.DryRun)
	return result, err
}

// inherit gives an object what no update can change. A deletion that has begun goes on, whatever the client left out.
func inherit(obj, old registry.Object) {
	obj.SetUID(old.GetUID())
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	obj.SetGeneration(old.GetGeneration())
	obj.SetSelfLink("")
	if deletion := old.GetDeletionTimestamp(); deletion != nil {
		obj.SetDeletionTimestamp(deletion)
	}
	if grace := old.GetDeletionGracePeriodSeconds(); grace != nil && obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(grace)
	}
}

func prepare(c *Call, obj, old registry.Object) {
	switch {
	case c.Sub != nil && c.Sub.PrepareUpdate != nil:
		c.Sub.PrepareUpdate(obj, old)
	case c.Kind.PrepareUpdate != nil && (c.Sub == nil || c.Sub.Into != nil):
		c.Kind.PrepareUpdate(obj, old)
	}
}

// checkVersion holds the client to the version and the identity it believes to change.
func (s *Service) checkVersion(c *Call, now present, obj registry.Object) error {
	r := s.row(c)
	if uid := obj.GetUID(); uid != "" && uid != now.object.GetUID() {
		return apierrors.NewConflict(r.gr, c.Name, fmt.Errorf(
			"StorageError: invalid object, Code: 4, Key: %s, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: %v, UID in object meta: %v",
			r.key(c.Namespace, c.Name), uid, now.object.GetUID()))
	}
	if version := obj.GetResourceVersion(); version != "" && version != "0" && version != strconv.FormatInt(now.kv.ModRevision, 10) {
		if _, err := strconv.ParseUint(version, 10, 64); err != nil {
			return apierrors.NewBadRequest(fmt.Sprintf("invalid resource version %q: %v", version, err))
		}
		return apierrors.NewConflict(r.gr, c.Name, errors.New(staleText))
	}
	obj.SetResourceVersion(strconv.FormatInt(now.kv.ModRevision, 10))
	return nil
}

func (s *Service) admitUpdate(ctx context.Context, c *Call, now present, req *admission.Request) (*Result, error) {
	if !c.admitted {
		if err := s.Admission.Allocate(ctx, req); err != nil {
			return nil, err
		}
	}
	obj := req.Object
	validate := c.Kind.ValidateUpdate
	if c.Sub != nil && c.Sub.ValidateUpdate != nil {
		validate = c.Sub.ValidateUpdate
	}
	if validate != nil {
		if faults := validate(obj, now.object); len(faults) > 0 {
			return nil, apierrors.NewInvalid(c.Kind.GVK.GroupKind(), c.Name, faults)
		}
	}
	warn(c, obj, now.object)
	if !c.admitted {
		if err := s.Admission.Validate(ctx, req); err != nil {
			return nil, err
		}
	}
	return s.storeChanged(ctx, c, now, obj)
}

// storeChanged writes the object back, unless nothing changed, or removes it when the last thing that held it has gone.
func (s *Service) storeChanged(ctx context.Context, c *Call, now present, obj registry.Object) (*Result, error) {
	r := s.row(c)
	value, stored, err := r.encode(ctx, obj)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(value, now.kv.Value) || s.sameButTimes(ctx, r, now, obj) {
		return s.unchanged(r, now), nil
	}
	if c.DryRun {
		return &Result{Object: obj, unwritten: true}, nil
	}
	key := r.key(c.Namespace, c.Name)
	if deleted(c.Kind, obj) {
		return s.remove(ctx, r, key, now, obj)
	}
	revision, err := s.Store.Update(ctx, key, value, now.kv.ModRevision)
	if err != nil {
		return nil, s.raced(r, c, err)
	}
	return s.written(r, key, revision, value, obj, stored, false), nil
}

// raced keeps the errors that make update try again as they are, and turns the others into status errors.
func (s *Service) raced(_ *row, _ *Call, err error) error {
	if errors.Is(err, errkind.Conflict) || errors.Is(err, errkind.NotFound) {
		return err
	}
	return storeError(err)
}

func (s *Service) unchanged(r *row, now present) *Result {
	result := &Result{Object: now.object, unwritten: true}
	if r.kind == r.stored {
		result.stored = now.kv.Value
	}
	return result
}

// sameButTimes is true when only the times in managedFields differ: applying what is there already writes nothing.
func (s *Service) sameButTimes(ctx context.Context, r *row, now present, obj registry.Object) bool {
	was, is := now.object.GetManagedFields(), obj.GetManagedFields()
	if len(was) != len(is) {
		return false
	}
	times := make([]*metav1.Time, len(is))
	restored := make([]metav1.ManagedFieldsEntry, len(is))
	moved := false
	for i := range is {
		restored[i], times[i] = is[i], was[i].Time
		if is[i].Manager != was[i].Manager || is[i].Operation != was[i].Operation || is[i].Subresource != was[i].Subresource {
			return false
		}
		moved = moved || !was[i].Time.Equal(is[i].Time)
		restored[i].Time = times[i]
	}
	if !moved {
		return false
	}
	obj.SetManagedFields(restored)
	defer obj.SetManagedFields(is)
	value, _, err := r.encode(ctx, obj)
	return err == nil && bytes.Equal(value, now.kv.Value)
}
