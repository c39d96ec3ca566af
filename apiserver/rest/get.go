package rest

import (
	"context"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/cache"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// notReachedAfter is how long a read waits for a revision that has not come to pass.
const notReachedAfter = 3 * time.Second

// Get reads one object, as fresh as a quorum read when version is empty, and not older than it otherwise.
func (s *Service) Get(ctx context.Context, c *Call, version string) (*Result, error) {
	if err := s.begin(c); err != nil {
		return nil, err
	}
	if err := s.reach(ctx, s.row(c), version); err != nil {
		return nil, err
	}
	entry, ok := s.row(c).table.Get(cacheKey(c.Namespace, c.Name))
	if !ok {
		return nil, apierrors.NewNotFound(s.row(c).gr, c.Name)
	}
	return s.fromEntry(ctx, s.row(c), entry)
}

func (s *Service) fromEntry(ctx context.Context, r *row, entry cache.Entry) (*Result, error) {
	obj, err := r.view(ctx, entry)
	if err != nil {
		return nil, err
	}
	result := &Result{Object: obj}
	if r.kind == r.stored {
		result.stored, result.entry = entry.Stored(), entry
	}
	return result, nil
}

// Live reads past memory's age: as fresh as a quorum read.
func (s *Service) Live(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (registry.Object, error) {
	kind := s.Registry.Current().ByResource(resource)
	if kind == nil {
		return nil, apierrors.NewNotFound(resource.GroupResource(), name)
	}
	result, err := s.Get(ctx, &Call{Kind: kind, Namespace: namespace, Name: name}, "")
	if err != nil {
		return nil, err
	}
	return result.Object, nil
}

// reach waits until memory is as new as a resourceVersion parameter asks.
func (s *Service) reach(ctx context.Context, r *row, version string) error {
	switch version {
	case "":
		return storeError(s.Fresh(ctx))
	case "0":
		return nil
	}
	revision, err := parseVersion(r, version)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, notReachedAfter)
	defer cancel()
	if err := s.Cache.WaitFor(limited, revision); err != nil {
		if ctx.Err() != nil {
			return storeError(err)
		}
		return tooLarge(revision, s.Cache.Revision())
	}
	return nil
}

func parseVersion(r *row, version string) (int64, error) {
	revision, err := strconv.ParseUint(version, 10, 63)
	if err != nil {
		return 0, apierrors.NewInvalid(schema.GroupKind{Group: r.gr.Group, Kind: r.gr.Resource}, "",
			field.ErrorList{field.Invalid(field.NewPath("resourceVersion"), version, err.Error())})
	}
	return int64(revision), nil
}

// tooLarge tells a client that it is ahead of us, in the way that makes it try again.
func tooLarge(wanted, have int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", wanted, have), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return err
}
