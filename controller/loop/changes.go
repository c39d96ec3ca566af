package loop

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/cuppa-project/cuppa/kube"
)

// Changes are objects of one resource to be written: what a plan comes to where a loop keeps several objects in step with one.
type Changes[T kube.Object] struct {
	Create []T
	Update []T
	Delete []T
}

// Carry writes them all, a few at a time, and joins what failed. An object that is gone already is no failure, nor is a namespace on its way out,
// which takes nothing new.
func (c Changes[T]) Carry(ctx context.Context, cluster kube.Cluster, res schema.GroupVersionResource) error {
	told := func(verb string, obj T, err error) error {
		if err == nil {
			return nil
		}
		name := obj.GetName()
		if name == "" {
			name = obj.GetGenerateName() + "*"
		}
		return fmt.Errorf("%s %s %s/%s: %w", verb, res.Resource, obj.GetNamespace(), name, err)
	}
	return errors.Join(
		ForEach(ctx, c.Create, func(ctx context.Context, obj T) error {
			_, err := cluster.Create(ctx, obj)
			if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				return nil
			}
			return told("create", obj, err)
		}),
		ForEach(ctx, c.Update, func(ctx context.Context, obj T) error {
			_, err := cluster.Update(ctx, obj)
			return told("update", obj, err)
		}),
		ForEach(ctx, c.Delete, func(ctx context.Context, obj T) error {
			err := cluster.Delete(ctx, res, obj.GetNamespace(), obj.GetName(), metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return told("delete", obj, err)
		}),
	)
}
