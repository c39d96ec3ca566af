package rest

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/apiserver/codec"
	"github.com/cuppa-project/cuppa/apiserver/patch"
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Patch changes the object as p says. An apply creates it when it is not there.
func (s *Service) Patch(ctx context.Context, c *Call, p patch.Patch, force bool) (*Result, error) {
	if err := s.begin(c); err != nil {
		return nil, err
	}
	if p.Type == types.ApplyYAMLPatchType {
		return s.apply(ctx, c, p, force)
	}
	return s.update(ctx, c, func(old registry.Object) (registry.Object, bool, error) {
		if c.Sub != nil && c.Sub.From != nil {
			obj, err := patchProjection(c, p, old)
			return obj, false, err
		}
		obj := c.Kind.New()
		if err := p.Change(old, obj); err != nil {
			return nil, false, err
		}
		codec.SetKind(obj, c.Kind.GVK)
		if err := p.Report(c.prune(obj)); err != nil {
			return nil, false, err
		}
		if c.Kind.Default != nil {
			c.Kind.Default(obj)
		}
		return obj, false, checkName(c, obj)
	})
}

// patchProjection patches what a subresource shows of its parent.
func patchProjection(c *Call, p patch.Patch, parent registry.Object) (registry.Object, error) {
	shown, err := c.Sub.From(parent)
	if err != nil {
		return nil, err
	}
	changed := c.Sub.New()
	if err := p.Change(shown, changed); err != nil {
		return nil, err
	}
	if meta, ok := changed.(metav1.Object); ok {
		if err := checkName(c, meta); err != nil {
			return nil, err
		}
	}
	obj, err := c.Sub.Into(parent, changed)
	if err != nil {
		return nil, err
	}
	keepVersion(obj, changed)
	return obj, nil
}

func (s *Service) apply(ctx context.Context, c *Call, p patch.Patch, force bool) (*Result, error) {
	config, err := p.Configuration()
	if err != nil {
		return nil, err
	}
	if c.Kind.Untyped && c.Sub == nil {
		if err := p.Report(c.prune(config)); err != nil {
			return nil, err
		}
	}
	merge := func(live registry.Object) (registry.Object, error) {
		// The library keeps parts of what it is given, and a retry must start from the client's words.
		obj, err := s.Fields.Apply(c.Kind, c.subName(), live, config.DeepCopy(), c.Manager, force)
		if err != nil {
			return nil, err
		}
		codec.SetKind(obj, c.Kind.GVK)
		return obj, checkName(c, obj)
	}
	if c.Sub != nil && c.Sub.From != nil {
		return s.applyProjection(ctx, c, config.Object)
	}
	for range nameTries {
		result, err := s.update(ctx, c, func(old registry.Object) (registry.Object, bool, error) {
			obj, err := merge(old)
			return obj, true, err
		})
		if c.Sub != nil || !apierrors.IsNotFound(err) {
			return result, err
		}
		result, err = s.applyNew(ctx, c, merge)
		if !apierrors.IsAlreadyExists(err) {
			return result, err
		}
	}
	return nil, apierrors.NewConflict(s.row(c).gr, c.Name, errors.New(staleText))
}

// applyNew creates what was applied and is not there.
func (s *Service) applyNew(ctx context.Context, c *Call, merge func(registry.Object) (registry.Object, error)) (*Result, error) {
	if err := s.mayCreate(ctx, c); err != nil {
		return nil, err
	}
	empty := c.Kind.New()
	codec.SetKind(empty, c.Kind.GVK)
	obj, err := merge(empty)
	if err != nil {
		return nil, err
	}
	if obj.GetUID() != "" {
		return nil, apierrors.NewConflict(s.row(c).gr, c.Name,
			fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", obj.GetUID()))
	}
	obj.SetResourceVersion("")
	return s.createManaged(ctx, c, obj)
}

// applyProjection applies a configuration of a projection (a Scale): what it names is set, and the parent's record says by whom.
func (s *Service) applyProjection(ctx context.Context, c *Call, config map[string]any) (*Result, error) {
	return s.update(ctx, c, func(old registry.Object) (registry.Object, bool, error) {
		shown, err := c.Sub.From(old)
		if err != nil {
			return nil, false, err
		}
		changed := c.Sub.New()
		document, err := runtime.DefaultUnstructuredConverter.ToUnstructured(shown)
		if err != nil {
			return nil, false, err
		}
		overlay(document, config)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(document, changed); err != nil {
			return nil, false, apierrors.NewBadRequest(err.Error())
		}
		obj, err := c.Sub.Into(old, changed)
		return obj, false, err
	})
}

// overlay sets in document what config names.
func overlay(document, config map[string]any) {
	for key, value := range config {
		inner, ok := value.(map[string]any)
		outer, ok2 := document[key].(map[string]any)
		if ok && ok2 {
			overlay(outer, inner)
			continue
		}
		document[key] = value
	}
}
