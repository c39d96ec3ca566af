// Package dependency holds back the pods of a Compose service until the services it depends on have come as far as it asks.
//
// A pod that waits carries a scheduling gate and an annotation with its conditions; the gate goes when all are met. Start with Decide in
// plan.go.
package dependency

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/controller/loop"
	"github.com/cuppa-project/cuppa/internal/run"
	"github.com/cuppa-project/cuppa/kube"
)

type controller struct{ loop.Deps }

// New returns the controller as a long-lived part.
func New(deps loop.Deps) run.Func {
	c := controller{deps}
	return loop.Run(loop.Config{Name: "dependency", Deps: deps, Reconcile: c.reconcile, Watch: c.watch})
}

// watch enqueues a project whenever one of its pods changes in a way that a condition could notice, or what is wanted of a service.
func (c controller) watch(ctx context.Context, enqueue func(loop.Key)) error {
	err := kube.Watch(ctx, c.Cluster, kube.Pods, func(old, new *corev1.Pod) {
		if new == nil || new.Labels[api.LabelProject] == "" {
			return
		}
		if old == nil || state(old) != state(new) || gated(old) != gated(new) {
			enqueue(loop.Key{Namespace: new.Namespace, Name: new.Labels[api.LabelProject]})
		}
	})
	if err != nil {
		return err
	}
	return kube.Watch(ctx, c.Cluster, kube.Deployments, func(old, new *appsv1.Deployment) {
		d := cmp.Or(new, old)
		if d.Labels[api.LabelProject] != "" && (old == nil || new == nil || old.Generation != new.Generation) {
			enqueue(loop.Key{Namespace: d.Namespace, Name: d.Labels[api.LabelProject]})
		}
	})
}

func gated(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.SchedulingGates, func(g corev1.PodSchedulingGate) bool { return g.Name == api.GateDependsOn })
}

func (c controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	project := kube.LabelKey(key.Namespace, api.LabelProject, key.Name)
	pods := kube.By[*corev1.Pod](c.Cluster, kube.Pods, kube.ByLabel, project)
	wanted := services(kube.By[*appsv1.Deployment](c.Cluster, kube.Deployments, kube.ByLabel, project))
	var errs []error
	var again time.Duration
	for _, pod := range pods {
		if !gated(pod) || pod.DeletionTimestamp != nil {
			continue
		}
		var conditions []Condition
		if err := json.Unmarshal([]byte(pod.Annotations[api.AnnotationDependsOn]), &conditions); err != nil {
			errs = append(errs, fmt.Errorf("pod %s: annotation %s: %w", pod.Name, api.AnnotationDependsOn, err))
			continue
		}
		d := Decide(c.Clock.Now(), conditions, key.Name, wanted, pods)
		if d.Lift {
			errs = append(errs, c.lift(ctx, pod))
		}
		if d.Look > 0 && (again == 0 || d.Look < again) {
			again = d.Look
		}
	}
	return again, errors.Join(errs...)
}

func (c controller) lift(ctx context.Context, pod *corev1.Pod) error {
	kept := slices.DeleteFunc(slices.Clone(pod.Spec.SchedulingGates), func(g corev1.PodSchedulingGate) bool { return g.Name == api.GateDependsOn })
	if kept == nil {
		kept = []corev1.PodSchedulingGate{}
	}
	_, err := kube.MergePatch(ctx, c.Cluster, kube.Pods, pod.Namespace, pod.Name, map[string]any{
		"metadata": map[string]any{"uid": pod.UID}, "spec": map[string]any{"schedulingGates": kept}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("lift gate of %s: %w", pod.Name, err)
	}
	return nil
}
