package rest

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/cuppa-project/cuppa/apiserver/registry"
)

const (
	// maxDisrupted is how many evictions of one budget may be on their way before it has to catch up.
	maxDisrupted = 2000
	// evictRetrySeconds is when a client should try again while a budget is still being worked out.
	evictRetrySeconds = 10
)

var budgetResource = policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets")

// evict deletes a pod politely: unless a disruption budget of it stands in the way. The budget's count is taken down in the same breath, so that
// two evictions never share one allowance.
func (s *Service) evict(ctx context.Context, c *Call, body runtime.Object) (runtime.Object, error) {
	eviction, ok := body.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not an Eviction object: %T", body))
	}
	if eviction.Name != "" && eviction.Name != c.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	opts := metav1.DeleteOptions{}
	if eviction.DeleteOptions != nil {
		opts = *eviction.DeleteOptions
	}
	call := *c
	call.Sub, call.DryRun = nil, c.DryRun || len(opts.DryRun) > 0
	now, err := s.present(ctx, &call, false)
	if err != nil {
		return nil, err
	}
	if pod, ok := now.object.(*corev1.Pod); ok && !costsNothing(pod) {
		if err := s.charge(ctx, &call, pod); err != nil {
			return nil, err
		}
	}
	if _, err := s.Delete(ctx, &call, opts); err != nil {
		return nil, err
	}
	return success(201, nil), nil
}

// costsNothing is true of pods that no budget counts on: those that have ended, have not begun, or are going already.
func costsNothing(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodPending ||
		pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// charge takes the eviction from the pod's budget, or says why it may not be.
func (s *Service) charge(ctx context.Context, c *Call, pod *corev1.Pod) error {
	var found *policyv1.PodDisruptionBudget
	for _, obj := range s.CachedList(budgetResource, pod.Namespace) {
		budget, ok := obj.(*policyv1.PodDisruptionBudget)
		if !ok || !covers(budget, pod) {
			continue
		}
		if found != nil {
			return apierrors.NewInternalError(errors.New("this pod has more than one PodDisruptionBudget, which the eviction subresource does not support"))
		}
		found = budget
	}
	kind := s.Registry.Current().ByResource(budgetResource)
	if found == nil || kind == nil {
		return nil
	}
	call := Call{
		User: c.User, Verb: "update", Kind: kind, Sub: kind.Subresource("status"), Namespace: found.Namespace, Name: found.Name,
		DryRun: c.DryRun, Manager: "eviction", Strictness: metav1.FieldValidationIgnore, Warn: c.Warn, admitted: true,
	}
	if err := s.begin(&call); err != nil {
		return err
	}
	_, err := s.update(ctx, &call, func(old registry.Object) (registry.Object, bool, error) {
		budget := old.DeepCopyObject().(*policyv1.PodDisruptionBudget)
		err := spend(budget, pod, metav1.Time{Time: s.Now()})
		return budget, false, err
	})
	if apierrors.IsNotFound(err) {
		return nil // it has gone meanwhile, and protects nobody
	}
	return err
}

func covers(budget *policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	return err == nil && selector.Matches(labels.Set(pod.Labels))
}

// spend takes one pod from what a budget allows, in place. A pod that is not ready costs nothing where the budget holds without it, or says so
// (KEP-3017).
func spend(budget *policyv1.PodDisruptionBudget, pod *corev1.Pod, now metav1.Time) error {
	status := &budget.Status
	if !ready(pod) {
		always := budget.Spec.UnhealthyPodEvictionPolicy != nil && *budget.Spec.UnhealthyPodEvictionPolicy == policyv1.AlwaysAllow
		if always || status.CurrentHealthy >= status.DesiredHealthy && status.DesiredHealthy > 0 {
			return nil
		}
	}
	switch {
	case status.ObservedGeneration < budget.Generation:
		return tooEarly(evictRetrySeconds, "The disruption budget %s is still being processed by the server.", budget.Name)
	case len(status.DisruptedPods) > maxDisrupted:
		return tooEarly(evictRetrySeconds, "The disruption budget %s does not allow evicting pods currently: too many pending evictions not confirmed by PDB controller", budget.Name)
	case status.DisruptionsAllowed <= 0:
		return tooEarly(0, "%s", whyNot(budget))
	}
	status.DisruptionsAllowed--
	if status.DisruptionsAllowed == 0 {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
			ObservedGeneration: status.ObservedGeneration, LastTransitionTime: now,
		})
	}
	if status.DisruptedPods == nil {
		status.DisruptedPods = map[string]metav1.Time{}
	}
	status.DisruptedPods[pod.Name] = now
	return nil
}

func ready(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// whyNot explains a budget that allows nothing. Figures of one that could not be worked out would mislead.
func whyNot(budget *policyv1.PodDisruptionBudget) string {
	status := &budget.Status
	failed := meta.FindStatusCondition(status.Conditions, policyv1.DisruptionAllowedCondition)
	if failed != nil && failed.Reason == policyv1.SyncFailedReason && failed.Message != "" {
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", budget.Name, failed.Message)
	}
	return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", budget.Name, status.DesiredHealthy, status.CurrentHealthy)
}

// tooEarly is the answer that clients wait and try again on.
func tooEarly(seconds int, format string, args ...any) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", seconds)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes,
		metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: fmt.Sprintf(format, args...)})
	return err
}
