package apply

import (
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/compose/plan"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// The stages of a container that is being brought up.
const (
	waiting  = iota // nothing seen yet
	created         // its pod exists
	started         // it runs, or has run
	finished        // nothing is left to do
)

// tracker follows the containers of a plan to their end. It sees pod events and emits progress.
type tracker struct {
	project *model.Project
	ready   bool // wait for ready, not only for started
	report  Report
	items   []*item
	ignore  map[string]bool // names of pods the plan deletes
	pods    map[string]*corev1.Pod
	synced  bool
	errs    []error
}

type item struct {
	plan.Container
	stage  int
	failed bool
}

func newTracker(project *model.Project, p *plan.Plan, ready bool, report Report) *tracker {
	t := &tracker{project: project, ready: ready, report: report, ignore: map[string]bool{}, pods: map[string]*corev1.Pod{}}
	for _, s := range p.Steps {
		if s.Verb == plan.DeletePod {
			t.ignore[s.Name] = true
		}
	}
	first := map[string]string{plan.Create: "Creating", plan.Recreate: "Recreate", plan.Start: "Starting", plan.Restart: "Restarting", plan.Remove: "Stopping"}
	for _, c := range p.Containers {
		it := &item{Container: c}
		t.items = append(t.items, it)
		if c.Change != plan.Keep {
			t.emit(it, first[c.Change], Working, "")
			continue
		}
		if !ready {
			it.stage = finished
			t.emit(it, "Running", Done, "")
		}
	}
	return t
}

func (t *tracker) emit(it *item, status string, state State, detail string) {
	t.report(Event{Object: "Container " + it.Name, Status: status, State: state, Detail: detail})
}

func (t *tracker) settled() bool {
	return !slices.ContainsFunc(t.items, func(it *item) bool { return it.stage != finished })
}

func (t *tracker) err() error { return errors.Join(t.errs...) }

func (t *tracker) observe(e PodEvent) {
	switch {
	case e.Synced:
		t.synced = true
	case e.Deleted:
		delete(t.pods, e.Pod.Name)
	default:
		t.pods[e.Pod.Name] = e.Pod
	}
	if !t.synced {
		return
	}
	for _, it := range t.items {
		if it.stage != finished {
			t.step(it)
		}
	}
}

// step moves one container as far as its pods allow.
func (t *tracker) step(it *item) {
	if it.Change == plan.Remove {
		t.stepRemove(it)
		return
	}
	pod := t.pod(it)
	if pod == nil {
		return
	}
	if it.stage == waiting {
		it.stage = created
		switch it.Change {
		case plan.Create:
			t.emit(it, "Created", Working, "")
			t.emit(it, "Starting", Working, "")
		case plan.Recreate:
			t.emit(it, "Recreated", Working, "")
			t.emit(it, "Starting", Working, "")
		}
	}
	if reason, text := Trouble(pod); reason != "" {
		t.fail(it, errkind.New(errkind.Invalid, "container %s: %s", it.Name, text))
		return
	}
	if it.stage == created && hasStarted(pod) {
		it.stage = started
		if t.ready {
			t.emit(it, "Waiting", Working, "")
		}
	}
	if it.stage == started && (!t.ready || isReady(pod) || isOver(pod)) && !t.outdated(it) {
		it.stage = finished
		switch {
		case t.ready && isOver(pod):
			t.emit(it, "Exited", Done, "")
		case t.ready:
			t.emit(it, "Healthy", Done, "")
		case it.Change == plan.Keep:
			t.emit(it, "Running", Done, "")
		default:
			t.emit(it, "Started", Done, "")
		}
	}
}

func (t *tracker) stepRemove(it *item) {
	for _, pod := range t.pods {
		if pod.Labels[api.LabelService] == it.Service && plan.Number(pod) == it.Number {
			return
		}
	}
	it.stage = finished
	t.emit(it, "Stopped", Working, "")
	t.emit(it, "Removed", Done, "")
}

// pod is the newest pod that is this container in the wanted version.
func (t *tracker) pod(it *item) *corev1.Pod {
	var best *corev1.Pod
	for _, pod := range t.pods {
		if t.ignore[pod.Name] || pod.DeletionTimestamp != nil || pod.Labels[api.LabelService] != it.Service || plan.Number(pod) != it.Number {
			continue
		}
		if plan.VersionOf(pod.Annotations) != it.Version {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&pod.CreationTimestamp) {
			best = pod
		}
	}
	return best
}

// outdated is true while an older version of the container is still in service.
func (t *tracker) outdated(it *item) bool {
	for _, pod := range t.pods {
		if pod.Labels[api.LabelService] == it.Service && plan.Number(pod) == it.Number && pod.DeletionTimestamp == nil &&
			!t.ignore[pod.Name] && plan.VersionOf(pod.Annotations) != it.Version {
			return true
		}
	}
	return false
}

func (t *tracker) fail(it *item, err error) {
	it.stage, it.failed = finished, true
	t.errs = append(t.errs, err)
	t.emit(it, "Error", Failed, err.Error())
}

// overdue ends the wait for containers whose dependency can no longer come true.
func (t *tracker) overdue(now time.Time) {
	for _, it := range t.items {
		s, ok := t.project.Service(it.Service)
		if it.stage == finished || it.Change == plan.Remove || !ok {
			continue
		}
		if pod := t.pod(it); pod != nil && len(pod.Spec.SchedulingGates) == 0 {
			if t.ready && it.stage == started && s.Health != nil && unhealthy(pod, s.Health, now) {
				t.fail(it, errkind.New(errkind.Precondition, "container %s is unhealthy", it.Name))
			}
			continue
		}
		for _, dep := range s.DependsOn {
			if err := t.broken(dep, now); err != nil && dep.Required {
				t.fail(it, err)
				break
			}
		}
	}
}

func (t *tracker) broken(dep model.Dependency, now time.Time) error {
	s, ok := t.project.Service(dep.Service)
	if !ok {
		return nil
	}
	for _, pod := range t.pods {
		if pod.Labels[api.LabelService] != dep.Service || pod.DeletionTimestamp != nil || t.ignore[pod.Name] {
			continue
		}
		name := plan.ContainerName(t.project.Name, dep.Service, plan.Number(pod))
		switch dep.Condition {
		case "service_completed_successfully":
			if code, over := ExitCode(pod); over && code != 0 && pod.Status.Phase == corev1.PodFailed {
				return errkind.New(errkind.Precondition, "service %q didn't complete successfully: exit %d", dep.Service, code)
			}
		case "service_healthy":
			if unhealthy(pod, s.Health, now) {
				return errkind.New(errkind.Precondition, "dependency failed to start: container %s is unhealthy", name)
			}
			if code, over := ExitCode(pod); over && isOver(pod) {
				return errkind.New(errkind.Precondition, "dependency failed to start: container %s exited (%d)", name, code)
			}
		}
	}
	return nil
}

// unhealthy estimates what Kubernetes does not tell: the check has had the time to fail as often as it may.
func unhealthy(pod *corev1.Pod, h *model.Health, now time.Time) bool {
	since, running := RunningSince(pod)
	if !running || isReady(pod) {
		return false
	}
	return now.Sub(since) > plan.Patience(h)
}

func container(pod *corev1.Pod) *corev1.ContainerStatus {
	if len(pod.Status.ContainerStatuses) == 0 {
		return nil
	}
	return &pod.Status.ContainerStatuses[0]
}

func hasStarted(pod *corev1.Pod) bool {
	c := container(pod)
	return isOver(pod) || c != nil && (c.State.Running != nil || c.State.Terminated != nil || c.RestartCount > 0)
}

func isOver(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// ExitCode is how the pod's container ended, if it has ended.
func ExitCode(pod *corev1.Pod) (code int32, over bool) {
	c := container(pod)
	if c == nil || c.State.Terminated == nil {
		return 0, isOver(pod)
	}
	return c.State.Terminated.ExitCode, true
}

// RunningSince is when the pod's container was last started, if it runs.
func RunningSince(pod *corev1.Pod) (time.Time, bool) {
	if c := container(pod); c != nil && c.State.Running != nil {
		return c.State.Running.StartedAt.Time, true
	}
	return time.Time{}, false
}

// Trouble is what keeps a pod from ever starting: the reason, and a text for the user.
func Trouble(pod *corev1.Pod) (reason, text string) {
	c := container(pod)
	if c == nil || c.RestartCount > 0 {
		return "", ""
	}
	if w := c.State.Waiting; w != nil {
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError",
			"CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return w.Reason, explained(w.Reason, w.Message)
		}
	}
	if end := c.State.Terminated; end != nil && (end.Reason == "StartError" || end.Reason == "ContainerCannotRun") {
		return end.Reason, explained(end.Reason, end.Message)
	}
	return "", ""
}

func explained(reason, message string) string {
	if message == "" {
		return reason
	}
	return fmt.Sprintf("%s (%s)", message, reason)
}
