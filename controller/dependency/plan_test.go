package dependency

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
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
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(began)}}}}
}

func failing(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
}

// of makes a pod one of another version than the one that is wanted.
func of(version string, change func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		change(p)
		p.Annotations = map[string]string{api.AnnotationConfigHash: version}
	}
}

var began = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

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

// TestDecide: each case is one condition on the service db, of which so many pods are wanted (-1: its Deployment is unknown) in version "new".
func TestDecide(t *testing.T) {
	pods := func(changes ...func(*corev1.Pod)) []*corev1.Pod {
		var list []*corev1.Pod
		for _, change := range changes {
			list = append(list, pod("db", change))
		}
		return list
	}
	now := func(change func(*corev1.Pod)) func(*corev1.Pod) { return of("new", change) }
	nothing := func(*corev1.Pod) {}
	const started, healthy, completed = "service_started", "service_healthy", "service_completed_successfully"
	for _, c := range []struct {
		name, condition string
		optional        bool
		replicas        int
		pods            []*corev1.Pod
		want            string
	}{
		{"no pod yet", started, false, 1, nil, "wait for db (service_started)"},
		{"pending", started, false, 1, pods(now(nothing)), "wait for db (service_started)"},
		{"running", started, false, 1, pods(now(running)), "lift"},
		{"running, without a Deployment", started, false, -1, pods(running), "lift"},
		{"no pod and no Deployment", started, false, -1, nil, "wait for db (service_started)"},
		{"an image that cannot be pulled", started, false, 1, pods(now(failing)), "wait for db (service_started)"},
		{"ended counts as started", started, false, 1, pods(now(ended(corev1.PodFailed))), "lift"},
		{"running is not healthy", healthy, false, 1, pods(now(running)), "wait for db (service_healthy)"},
		{"healthy", healthy, false, 1, pods(now(ready)), "lift"},
		{"one of two healthy", healthy, false, 2, pods(now(ready), now(running)), "wait for db (service_healthy)"},
		{"one of two there", healthy, false, 2, pods(now(ready)), "wait for db (service_healthy)"},
		{"both healthy", healthy, false, 2, pods(now(ready), now(ready)), "lift"},
		{"succeeded", completed, false, 1, pods(now(ended(corev1.PodSucceeded))), "lift"},
		{"failed", completed, false, 1, pods(now(ended(corev1.PodFailed))), "wait for db (service_completed_successfully)"},
		{"none wanted", started, false, 0, nil, "wait for db (service_started)"},

		{"the old one is healthy, the new one is not there yet", healthy, false, 1, pods(of("old", ready)), "wait for db (service_healthy)"},
		{"the old one is healthy, the new one not yet", healthy, false, 1, pods(of("old", ready), now(running)), "wait for db (service_healthy)"},
		{"the new one is healthy, the old one no more", healthy, false, 1, pods(of("old", running), now(ready)), "lift"},
		{"the old one has completed", completed, false, 1, pods(of("old", ended(corev1.PodSucceeded))), "wait for db (service_completed_successfully)"},

		{"optional, none wanted", healthy, true, 0, nil, "lift"},
		{"optional, not of this cluster", healthy, true, -1, nil, "lift"},
		{"optional, no pod yet", healthy, true, 1, nil, "wait for db (service_healthy)"},
		{"optional, healthy", healthy, true, 1, pods(now(ready)), "lift"},
		{"optional, may still become healthy", healthy, true, 1, pods(now(running)), "wait for db (service_healthy), look again in 30s"},
		{"optional, has ended", healthy, true, 1, pods(now(ended(corev1.PodFailed))), "lift"},
		{"optional, has failed", completed, true, 1, pods(now(ended(corev1.PodFailed))), "lift"},
		{"optional, still runs", completed, true, 1, pods(now(running)), "wait for db (service_completed_successfully)"},

		{"another service's pod", started, false, -1, []*corev1.Pod{pod("web", running)}, "wait for db (service_started)"},
		{"another project's pod", started, false, -1, pods(func(p *corev1.Pod) { running(p); p.Labels[api.LabelProject] = "q" }), "wait for db (service_started)"},
		{"a one-off does not count", started, false, -1, pods(func(p *corev1.Pod) { running(p); p.Labels[api.LabelOneOff] = "true" }), "wait for db (service_started)"},
		{"one on its way out does not count", started, false, -1, pods(func(p *corev1.Pod) { running(p); p.DeletionTimestamp = &metav1.Time{} }), "wait for db (service_started)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wanted := map[string]Service{}
			if c.replicas >= 0 {
				wanted["db"] = Service{Replicas: c.replicas, Version: "new//"}
			}
			condition := Condition{Service: "db", Condition: c.condition, Patience: 90}
			if c.optional {
				condition.Required = new(bool)
			}
			if got := Decide(began.Add(time.Minute), []Condition{condition}, "p", wanted, c.pods).String(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestPatienceEnds: an optional dependency that is not healthy in time holds nobody back any longer.
func TestPatienceEnds(t *testing.T) {
	conditions := []Condition{{Service: "db", Condition: "service_healthy", Required: new(bool), Patience: 90}, {Service: "web", Condition: "service_started"}}
	wanted := map[string]Service{"db": {1, "//"}, "web": {1, "//"}}
	pods := []*corev1.Pod{pod("db", running), pod("web", running)}
	for after, want := range map[time.Duration]string{
		89 * time.Second: "wait for db (service_healthy), look again in 1s",
		90 * time.Second: "lift",
		time.Hour:        "lift",
	} {
		if got := Decide(began.Add(after), conditions, "p", wanted, pods).String(); got != want {
			t.Errorf("after %s: %q, want %q", after, got, want)
		}
	}
}

func TestServices(t *testing.T) {
	deployment := func(service string, replicas *int32, version string) *appsv1.Deployment {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{api.LabelProject: "p", api.LabelService: service}}}
		d.Spec.Replicas = replicas
		d.Spec.Template.Annotations = map[string]string{api.AnnotationConfigHash: version, api.AnnotationImageID: "i"}
		return d
	}
	three := int32(3)
	got := services([]*appsv1.Deployment{deployment("db", &three, "h"), deployment("web", nil, "g")})
	want := map[string]Service{"db": {3, "h/i/"}, "web": {1, "g/i/"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
}
