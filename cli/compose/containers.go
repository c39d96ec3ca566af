package compose

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/cli/streams"
	"github.com/cuppa-project/cuppa/compose/apply"
	"github.com/cuppa-project/cuppa/compose/plan"
)

// containerRow is one container as `ps` shows it; the exported fields are those of its JSON form.
type containerRow struct {
	Command      string
	CreatedAt    string
	ExitCode     int
	Health       string
	ID           string
	Image        string
	Labels       string
	LocalVolumes string
	Mounts       string
	Name         string
	Names        string
	Networks     string
	Ports        string
	Project      string
	Publishers   []publisher
	RunningFor   string
	Service      string
	Size         string
	State        string
	Status       string

	fullID string
	number int
	pod    *corev1.Pod
}

type publisher struct {
	URL           string
	TargetPort    int
	PublishedPort int
	Protocol      string
}

// containers lists the containers of a project, sorted by name: those that run, those that have ended, and those that `stop` has ended.
func containers(project string, state *plan.State, now time.Time) []containerRow {
	var rows []containerRow
	deployments := map[string]*appsv1.Deployment{}
	for _, d := range state.Deployments {
		deployments[d.Labels[api.LabelService]] = d
	}
	for _, pod := range state.Pods {
		if pod.Labels[api.LabelProject] != project || pod.DeletionTimestamp != nil {
			continue
		}
		service := serviceOf(pod)
		row := containerRow{Name: apply.Shown(project, pod), Service: service, number: plan.Number(pod), pod: pod}
		row.look(pod, deployments[service], now)
		rows = append(rows, row)
	}
	for service, d := range deployments {
		n, err := strconv.Atoi(d.Annotations[api.AnnotationStoppedReplicas])
		if err != nil {
			continue
		}
		for i := 1; i <= n; i++ {
			row := containerRow{Name: plan.ContainerName(project, service, i), Service: service, number: i, State: "exited", Status: "Exited"}
			if name := d.Spec.Template.Annotations[plan.AnnotationContainerName]; name != "" {
				row.Name = name
			}
			row.shown(d)
			row.stopped(d, now)
			rows = append(rows, row)
		}
	}
	for i := range rows {
		rows[i].Names, rows[i].Project, rows[i].Networks = rows[i].Name, project, project+"_default"
		rows[i].ports(state, deployments[rows[i].Service])
	}
	slices.SortFunc(rows, func(a, b containerRow) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.number, b.number), cmp.Compare(a.Name, b.Name))
	})
	return rows
}

// serviceOf is the service a container belongs to, one-off containers included.
func serviceOf(pod *corev1.Pod) string {
	if s := pod.Labels[api.LabelService]; s != "" {
		return s
	}
	return pod.Labels[plan.LabelRunService]
}

// shown fills in what the Deployment remembers of the image.
func (r *containerRow) shown(d *appsv1.Deployment) plan.Shown {
	var look plan.Shown
	if d != nil {
		_ = json.Unmarshal([]byte(d.Annotations[plan.AnnotationImageConfig]), &look)
	}
	r.Image, r.Command = look.Image, strings.Join(look.Command, " ")
	return look
}

func (r *containerRow) look(pod *corev1.Pod, d *appsv1.Deployment, now time.Time) {
	r.shown(d)
	if r.Image == "" && len(pod.Spec.Containers) > 0 {
		r.Image = plan.Familiar(pod.Spec.Containers[0].Image)
	}
	if pod.Labels[api.LabelOneOff] == "true" && len(pod.Spec.Containers[0].Args) > 0 {
		r.Command = strings.Join(pod.Spec.Containers[0].Args, " ")
	}
	r.CreatedAt = pod.CreationTimestamp.UTC().Format("2006-01-02 15:04:05 -0700 MST")
	r.RunningFor = streams.Duration(now.Sub(pod.CreationTimestamp.Time)) + " ago"
	r.State, r.Status = "created", "Created"
	if len(pod.Status.ContainerStatuses) == 0 {
		return
	}
	c := pod.Status.ContainerStatuses[0]
	_, r.fullID, _ = strings.Cut(c.ContainerID, "://")
	r.ID = r.fullID[:min(12, len(r.fullID))]
	switch {
	case c.State.Running != nil:
		r.State, r.Status = "running", "Up "+streams.Duration(now.Sub(c.State.Running.StartedAt.Time))
		r.health(pod, c, now)
	case c.State.Terminated != nil:
		r.ended("Exited", "exited", c.State.Terminated, now)
	case c.LastTerminationState.Terminated != nil:
		r.ended("Restarting", "restarting", c.LastTerminationState.Terminated, now)
	case c.State.Waiting != nil && c.State.Waiting.Message != "":
		r.Status = "Created: " + c.State.Waiting.Message
	}
}

func (r *containerRow) ended(word, state string, t *corev1.ContainerStateTerminated, now time.Time) {
	r.State, r.ExitCode = state, int(t.ExitCode)
	r.Status = fmt.Sprintf("%s (%d) %s ago", word, t.ExitCode, streams.Duration(now.Sub(t.FinishedAt.Time)))
}

// stopped fills in how a container that `stop` has ended ended.
func (r *containerRow) stopped(d *appsv1.Deployment, now time.Time) {
	var ends map[int]plan.Stopped
	_ = json.Unmarshal([]byte(d.Annotations[plan.AnnotationStopped]), &ends)
	if end, ok := ends[r.number]; ok {
		r.ended("Exited", "exited", &corev1.ContainerStateTerminated{ExitCode: end.ExitCode, FinishedAt: end.At}, now)
		r.fullID, r.ID = end.ID, end.ID[:min(12, len(end.ID))]
	}
}

// health says how a container with a health check is. A check by connecting to a published port is not one the user wrote.
func (r *containerRow) health(pod *corev1.Pod, c corev1.ContainerStatus, now time.Time) {
	probe := pod.Spec.Containers[0].ReadinessProbe
	if probe == nil || probe.Exec == nil {
		return
	}
	patience := time.Duration(probe.PeriodSeconds*probe.FailureThreshold) * time.Second
	switch {
	case c.Ready:
		r.Health = "healthy"
	case now.Sub(c.State.Running.StartedAt.Time) < patience:
		r.Health = "starting"
		r.Status += " (health: starting)"
		return
	default:
		r.Health = "unhealthy"
	}
	r.Status += " (" + r.Health + ")"
}

// ports lists the published ports of the service, then those its image exposes besides.
func (r *containerRow) ports(state *plan.State, d *appsv1.Deployment) {
	if r.State == "exited" || r.pod != nil && r.pod.Labels[api.LabelOneOff] == "true" {
		return
	}
	var words []string
	published := map[string]bool{}
	for _, svc := range state.Services {
		if svc.Name != plan.PublishedName(r.Service) {
			continue
		}
		var hostIP map[string]string
		_ = json.Unmarshal([]byte(svc.Annotations[api.AnnotationHostIP]), &hostIP)
		for _, p := range svc.Spec.Ports {
			target := fmt.Sprintf("%d/%s", p.TargetPort.IntValue(), strings.ToLower(string(p.Protocol)))
			published[target] = true
			addresses := []string{"0.0.0.0", "[::]"}
			if ip := hostIP[fmt.Sprintf("%d/%s", p.Port, p.Protocol)]; ip != "" {
				addresses = []string{ip}
			}
			for _, a := range addresses {
				words = append(words, fmt.Sprintf("%s:%d->%s", a, p.Port, target))
				r.Publishers = append(r.Publishers, publisher{URL: strings.Trim(a, "[]"), TargetPort: p.TargetPort.IntValue(),
					PublishedPort: int(p.Port), Protocol: strings.ToLower(string(p.Protocol))})
			}
		}
	}
	var look plan.Shown
	if d != nil {
		_ = json.Unmarshal([]byte(d.Annotations[plan.AnnotationImageConfig]), &look)
	}
	for _, p := range look.Ports {
		if !published[p] {
			words = append(words, p)
		}
	}
	r.Ports = strings.Join(words, ", ")
}
