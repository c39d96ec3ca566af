// Package replicaset keeps as many pods running as each ReplicaSet asks for.
//
// Start with Decide in plan.go, which is the whole decision; this file reads, and carries plans out.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

type controller struct{ loop.Deps }

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := controller{deps}
	return loop.Run(loop.Config{Name: "replicaset", Deps: deps, Reconcile: c.reconcile, Watch: c.watch, Workers: 8})
}

func (c controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.ReplicaSets, func(old, new *appsv1.ReplicaSet) {
		if new != nil {
			enqueue(loop.KeyOf(new))
		}
	})
	if err != nil {
		return err
	}
	return kube.Watch(ctx, c.Cluster, kube.Pods, func(old, new *corev1.Pod) {
		for _, pod := range []*corev1.Pod{old, new} {
			if pod == nil {
				continue
			}
			owner := metav1.GetControllerOfNoCopy(pod)
			switch {
			case owner != nil && owner.Kind == kind.Kind:
				enqueue(loop.Key{Namespace: pod.Namespace, Name: owner.Name})
			case owner == nil && len(pod.Labels) > 0:
				c.enqueueAdopters(pod, enqueue)
			}
		}
	})
}

// enqueueAdopters wakes the ReplicaSets of which an orphan's labels might make it a member.
func (c controller) enqueueAdopters(pod *corev1.Pod, enqueue func(loop.Key)) {
	for _, rs := range kube.List[*appsv1.ReplicaSet](c.Cluster, kube.ReplicaSets, pod.Namespace, nil) {
		enqueue(loop.KeyOf(rs))
	}
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	rs, ok := kube.Get[*appsv1.ReplicaSet](c.Cluster, kube.ReplicaSets, key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	plan := Decide(rs, kube.List[*corev1.Pod](c.Cluster, kube.Pods, key.Namespace, nil), c.Clock.Now())
	err := errors.Join(
		loop.ForEach(ctx, plan.Adopt, func(ctx context.Context, pod *corev1.Pod) error { return c.adopt(ctx, rs, pod) }),
		loop.ForEach(ctx, plan.Release, func(ctx context.Context, pod *corev1.Pod) error { return c.release(ctx, rs, pod) }),
		c.create(ctx, rs, plan.Create),
		loop.ForEach(ctx, plan.Delete, c.delete),
	)
	setFailure(&plan.Status, err, c.Clock.Now())
	return plan.Again, errors.Join(err, c.updateStatus(ctx, rs, plan.Status))
}

// create makes the first pod alone, so that a quota or a broken template costs one refused request and not hundreds.
func (c controller) create(ctx context.Context, rs *appsv1.ReplicaSet, numbers []int) error {
	if len(numbers) == 0 {
		return nil
	}
	one := func(ctx context.Context, n int) error {
		_, err := c.Cluster.Create(ctx, podFor(rs, n))
		if err != nil && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("create pod: %w", err)
		}
		return nil
	}
	if err := one(ctx, numbers[0]); err != nil {
		return err
	}
	return loop.ForEach(ctx, numbers[1:], one)
}

// podFor makes the pod that the template describes.
func podFor(rs *appsv1.ReplicaSet, number int) *corev1.Pod {
	template := rs.Spec.Template.DeepCopy()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    rs.Name + "-",
			Namespace:       rs.Namespace,
			Labels:          template.Labels,
			Annotations:     template.Annotations,
			Finalizers:      template.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, kind)},
		},
		Spec: template.Spec,
	}
	if number > 0 {
		pod.Labels[api.LabelNumber] = strconv.Itoa(number)
	}
	return pod
}

func (c controller) delete(ctx context.Context, pod *corev1.Pod) error {
	err := c.Cluster.Delete(ctx, kube.Pods, pod.Namespace, pod.Name, *metav1.NewPreconditionDeleteOptions(string(pod.UID)))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	return nil
}

func (c controller) adopt(ctx context.Context, rs *appsv1.ReplicaSet, pod *corev1.Pod) error {
	// The server's own word that the ReplicaSet still lives: memory may show one that was deleted and made anew.
	live, err := c.Cluster.Live(ctx, kube.ReplicaSets, rs.Namespace, rs.Name)
	if err != nil {
		return err
	}
	if live.GetUID() != rs.UID || live.GetDeletionTimestamp() != nil {
		return nil
	}
	_, err = kube.MergePatch(ctx, c.Cluster, kube.Pods, pod.Namespace, pod.Name, map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "ownerReferences": append(pod.OwnerReferences, *metav1.NewControllerRef(rs, kind))}})
	if err != nil {
		return fmt.Errorf("adopt pod %s: %w", pod.Name, err)
	}
	return nil
}

func (c controller) release(ctx context.Context, rs *appsv1.ReplicaSet, pod *corev1.Pod) error {
	refs := []metav1.OwnerReference{}
	for _, ref := range pod.OwnerReferences {
		if ref.UID != rs.UID {
			refs = append(refs, ref)
		}
	}
	_, err := kube.MergePatch(ctx, c.Cluster, kube.Pods, pod.Namespace, pod.Name, map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "ownerReferences": refs}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release pod %s: %w", pod.Name, err)
	}
	return nil
}

// setFailure keeps the ReplicaFailure condition in step with the outcome of the plan.
func setFailure(status *appsv1.ReplicaSetStatus, err error, now time.Time) {
	var kept []appsv1.ReplicaSetCondition
	var before *appsv1.ReplicaSetCondition
	for _, cond := range status.Conditions {
		if cond.Type == appsv1.ReplicaSetReplicaFailure {
			before = &cond
			continue
		}
		kept = append(kept, cond)
	}
	if err != nil {
		cond := appsv1.ReplicaSetCondition{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
			Reason: "FailedCreate", Message: err.Error(), LastTransitionTime: metav1.NewTime(now)}
		if before != nil {
			cond.LastTransitionTime = before.LastTransitionTime
		}
		kept = append(kept, cond)
	}
	status.Conditions = kept
}

func (c controller) updateStatus(ctx context.Context, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
	if equality.Semantic.DeepEqual(rs.Status, status) {
		return nil
	}
	changed := rs.DeepCopy()
	changed.Status = status
	_, err := c.Cluster.UpdateStatus(ctx, changed)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update status: %w", err)
	}
	return nil
}
