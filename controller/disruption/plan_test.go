package disruption

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// pods makes pods p0, p1, ... of which the first ready ones are ready.
func pods(ready, all int) []*corev1.Pod {
	var out []*corev1.Pod
	for i := range all {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", i)}}
		if i < ready {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		out = append(out, pod)
	}
	return out
}

func deleted(list []*corev1.Pod, i int) []*corev1.Pod {
	list[i].DeletionTimestamp = &metav1.Time{Time: now}
	return list
}

func TestDecide(t *testing.T) {
	number, percent := intstr.FromInt32, intstr.FromString
	two, half, none := number(2), percent("50%"), number(0)
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	for name, c := range map[string]struct {
		spec      policyv1.PodDisruptionBudgetSpec
		pods      []*corev1.Pod
		scale     int32
		fault     string
		disrupted map[string]metav1.Time
		want      string
		again     time.Duration
	}{
		"a number must stay":          {spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &two}, pods: pods(3, 3), want: "3 of 3 healthy, 2 must be, 1 may go (True: SufficientPods)"},
		"just enough":                 {spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &two}, pods: pods(2, 3), want: "2 of 3 healthy, 2 must be, 0 may go (False: InsufficientPods)"},
		"too few":                     {spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &two}, pods: pods(1, 3), want: "1 of 3 healthy, 2 must be, 0 may go (False: InsufficientPods)"},
		"no pods at all":              {spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &none}, want: "0 of 0 healthy, 0 must be, 0 may go (False: InsufficientPods)"},
		"half must stay, rounded up":  {spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &half}, pods: pods(5, 5), scale: 5, want: "5 of 5 healthy, 3 must be, 2 may go (True: SufficientPods)"},
		"half may go":                 {spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &half}, pods: pods(4, 4), scale: 4, want: "4 of 4 healthy, 2 must be, 2 may go (True: SufficientPods)"},
		"more may go than there are":  {spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &two}, pods: pods(1, 1), scale: 1, want: "1 of 1 healthy, 0 must be, 1 may go (True: SufficientPods)"},
		"nothing is said":             {pods: pods(2, 2), want: "2 of 2 healthy, 0 must be, 2 may go (True: SufficientPods)"},
		"one is going":                {spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &two}, pods: deleted(pods(3, 3), 0), want: "2 of 3 healthy, 2 must be, 0 may go (False: InsufficientPods)"},
		"the scale is unknown":        {spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &two}, pods: pods(3, 3), fault: "no owner", want: "0 of 0 healthy, 0 must be, 0 may go (False: SyncFailed, no owner)"},
		"an eviction is on its way":   {spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &two}, pods: pods(4, 4), disrupted: map[string]metav1.Time{"p0": ago(time.Minute)}, want: "3 of 4 healthy, 2 must be, 1 may go, 1 on their way (True: SufficientPods)", again: time.Minute},
		"an eviction came to nothing": {spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &two}, pods: pods(4, 4), disrupted: map[string]metav1.Time{"p0": ago(evictionWait)}, want: "4 of 4 healthy, 2 must be, 2 may go (True: SufficientPods)"},
		"an eviction has been seen":   {spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &two}, pods: deleted(pods(4, 4), 0), disrupted: map[string]metav1.Time{"p0": ago(time.Second)}, want: "3 of 4 healthy, 2 must be, 1 may go (True: SufficientPods)"},
		"an evicted pod has gone":     {spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &two}, pods: pods(3, 3), disrupted: map[string]metav1.Time{"old": ago(time.Second)}, want: "3 of 3 healthy, 2 must be, 1 may go (True: SufficientPods)"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Generation: 3}, Spec: c.spec}
			b.Status.DisruptedPods = c.disrupted
			status, again := Decide(Observed{Budget: b, Pods: c.pods, Scale: c.scale, Fault: c.fault, Now: now})
			if got := describe(status); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
			if again != c.again {
				t.Errorf("again after %v, want %v", again, c.again)
			}
			if status.ObservedGeneration != 3 {
				t.Errorf("observed generation %d, want 3", status.ObservedGeneration)
			}
			b.Status = status
			if settled, _ := Decide(Observed{Budget: b, Pods: c.pods, Scale: c.scale, Fault: c.fault, Now: now}); describe(settled) != c.want {
				t.Errorf("decided again: %s", describe(settled))
			}
		})
	}
}
