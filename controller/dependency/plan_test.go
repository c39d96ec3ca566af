package dependency

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
)

func pod(service string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{api.LabelProject: "p", api.LabelService: service}}}
	if change != nil {
		change(p)
	}
	return p
}

func running(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
}

func ready(p *corev1.Pod) {
	running(p)
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

func ended(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = phase
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
	}
}

func TestMet(t *testing.T) {
	for _, c := range []struct {
		name, condition string
		pods            []*corev1.Pod
		want            bool
	}{
		{"no pod yet", "service_started", nil, false},
		{"pending", "service_started", []*corev1.Pod{pod("db", nil)}, false},
		{"running", "service_started", []*corev1.Pod{pod("db", running)}, true},
		{"ended counts as started", "service_started", []*corev1.Pod{pod("db", ended(corev1.PodFailed))}, true},
		{"running is not healthy", "service_healthy", []*corev1.Pod{pod("db", running)}, false},
		{"healthy", "service_healthy", []*corev1.Pod{pod("db", ready)}, true},
		{"one of two healthy", "service_healthy", []*corev1.Pod{pod("db", ready), pod("db", running)}, false},
		{"succeeded", "service_completed_successfully", []*corev1.Pod{pod("db", ended(corev1.PodSucceeded))}, true},
		{"failed", "service_completed_successfully", []*corev1.Pod{pod("db", ended(corev1.PodFailed))}, false},
		{"another service's pod", "service_started", []*corev1.Pod{pod("web", running)}, false},
		{"a one-off does not count", "service_started", []*corev1.Pod{pod("db", func(p *corev1.Pod) { running(p); p.Labels[api.LabelOneOff] = "true" })}, false},
		{"one on its way out does not count", "service_started", []*corev1.Pod{pod("db", func(p *corev1.Pod) { running(p); p.DeletionTimestamp = &metav1.Time{} })}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Met([]Condition{{Service: "db", Condition: c.condition}}, "p", c.pods); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
