package disruption

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cuppa-project/cuppa/kube"
)

// evictionWait is how long an eviction that was allowed may take to show as a deletion before it no longer counts.
const evictionWait = 2 * time.Minute

// Observed is what a decision is made from.
type Observed struct {
	Budget *policyv1.PodDisruptionBudget
	Pods   []*corev1.Pod // those that the budget's selector matches
	// Scale is how many pods the owners of Pods want together. It is needed for percentages and for maxUnavailable.
	Scale int32
	// Fault says why the scale could not be found; empty: it was.
	Fault string
	Now   time.Time
}

// Decide returns the status that the budget should have, and when to look again even if nothing changes (0: not at all).
func Decide(o Observed) (policyv1.PodDisruptionBudgetStatus, time.Duration) {
	b := o.Budget
	status := *b.Status.DeepCopy()
	if o.Fault != "" {
		// Nothing is known, so nothing may be disrupted.
		status.DisruptionsAllowed = 0
		status.ObservedGeneration = b.Generation
		setCondition(&status, b.Generation, metav1.ConditionFalse, policyv1.SyncFailedReason, o.Fault, o.Now)
		return status, 0
	}
	disrupted, again := stillGoing(b.Status.DisruptedPods, o.Pods, o.Now)
	status.DisruptedPods = disrupted
	status.ExpectedPods, status.DesiredHealthy = wanted(b, int32(len(o.Pods)), o.Scale)
	status.CurrentHealthy = 0
	for _, pod := range o.Pods {
		if _, going := disrupted[pod.Name]; !going && pod.DeletionTimestamp == nil && kube.PodReady(pod) {
			status.CurrentHealthy++
		}
	}
	status.DisruptionsAllowed = max(status.CurrentHealthy-status.DesiredHealthy, 0)
	if status.ExpectedPods <= 0 {
		status.DisruptionsAllowed = 0
	}
	status.ObservedGeneration = b.Generation
	if status.DisruptionsAllowed > 0 {
		setCondition(&status, b.Generation, metav1.ConditionTrue, policyv1.SufficientPodsReason, "", o.Now)
	} else {
		setCondition(&status, b.Generation, metav1.ConditionFalse, policyv1.InsufficientPodsReason, "", o.Now)
	}
	return status, again
}

// wanted is how many pods there should be, and how many of them must stay healthy.
func wanted(b *policyv1.PodDisruptionBudget, present, scale int32) (expected, healthy int32) {
	switch spec := &b.Spec; {
	case spec.MaxUnavailable != nil:
		return scale, max(scale-share(*spec.MaxUnavailable, scale), 0)
	case spec.MinAvailable != nil && spec.MinAvailable.Type == intstr.Int:
		return present, spec.MinAvailable.IntVal
	case spec.MinAvailable != nil:
		return scale, share(*spec.MinAvailable, scale)
	}
	return present, 0
}

// share is a number, or a percentage of all, rounded up. What is neither was refused when it was written.
func share(v intstr.IntOrString, all int32) int32 {
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, int(all), true)
	if err != nil {
		return 0
	}
	return int32(n)
}

// needsScale says whether the budget is measured against what the owners of the pods want.
func needsScale(b *policyv1.PodDisruptionBudget) bool {
	return b.Spec.MaxUnavailable != nil || b.Spec.MinAvailable != nil && b.Spec.MinAvailable.Type == intstr.String
}

// stillGoing keeps the evictions whose pod is there and not being deleted yet, unless they have waited too long. again is when the next one
// will have.
func stillGoing(disrupted map[string]metav1.Time, pods []*corev1.Pod, now time.Time) (kept map[string]metav1.Time, again time.Duration) {
	for name, since := range disrupted {
		waits := slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.Name == name && p.DeletionTimestamp == nil })
		left := since.Add(evictionWait).Sub(now)
		if !waits || left <= 0 {
			continue
		}
		if kept == nil {
			kept = map[string]metav1.Time{}
		}
		kept[name] = since
		if again == 0 || left < again {
			again = left
		}
	}
	return kept, again
}

func setCondition(status *policyv1.PodDisruptionBudgetStatus, generation int64, value metav1.ConditionStatus, reason, message string, now time.Time) {
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: value, ObservedGeneration: generation, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(now),
	})
}

// describe prints a status for people and transcripts.
func describe(s policyv1.PodDisruptionBudgetStatus) string {
	out := fmt.Sprintf("%d of %d healthy, %d must be, %d may go", s.CurrentHealthy, s.ExpectedPods, s.DesiredHealthy, s.DisruptionsAllowed)
	if len(s.DisruptedPods) > 0 {
		out += fmt.Sprintf(", %d on their way", len(s.DisruptedPods))
	}
	for _, c := range s.Conditions {
		out += fmt.Sprintf(" (%s: %s", c.Status, c.Reason)
		if c.Message != "" {
			out += ", " + c.Message
		}
		out += ")"
	}
	return out
}
