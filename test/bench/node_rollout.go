package main

import (
	"context"
	"errors"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rollout creates a Deployment, waits until it is rolled out, and removes it and its pods.
func (w *worker) rollout(ctx context.Context, name string) (time.Duration, error) {
	deployments := w.AppsV1().Deployments(w.namespace)
	seen, err := deployments.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	defer seen.Stop()
	began := time.Now()
	if err := w.createDeployment(ctx, name, rolloutSize, sleeperSpec()); err != nil {
		return 0, err
	}
	for {
		select {
		case event, ok := <-seen.ResultChan():
			if !ok {
				return 0, errors.Join(errWatchEnded, ctx.Err())
			}
			d, ok := event.Object.(*appsv1.Deployment)
			if !ok || d.Name != name || d.Status.ObservedGeneration != d.Generation || d.Status.AvailableReplicas != rolloutSize {
				continue
			}
			took := time.Since(began)
			now := metav1.DeletePropagationBackground
			if err := deployments.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &now}); err != nil {
				return 0, err
			}
			return took, w.awaitNone(ctx)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// awaitNone returns when the namespace has no pod left.
func (w *worker) awaitNone(ctx context.Context) error {
	for {
		list, err := w.CoreV1().Pods(w.namespace).List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) == 0 {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
