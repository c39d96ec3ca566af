package plan

import (
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/model"
	"github.com/cuppa-project/cuppa/internal/errkind"
)

// StartAgain plans what brings stopped services back: the replicas they had before `stop`, and the finished containers of others anew. It needs
// no file. The second result names the services that have no container to start.
func StartAgain(project string, state *State, services []string) (*Plan, []string) {
	p := &Plan{Project: project, Namespace: NamespaceName(project), Services: services}
	var none []string
	for _, service := range services {
		name := ObjectName(service)
		d := state.find("Deployment", name)
		if d == nil {
			none = append(none, service)
			continue
		}
		pods := state.podsOf(service)
		if n, err := strconv.Atoi(d.GetAnnotations()[api.AnnotationStoppedReplicas]); err == nil {
			p.Steps = append(p.Steps, Step{Verb: Scale, Kind: "Deployment", Name: name, Replicas: int32(n), Why: "start again"})
			for i := 1; i <= n; i++ {
				p.Containers = append(p.Containers, Container{Name: ContainerName(project, service, i), Service: service, Number: i, Change: Start})
			}
			continue
		}
		for _, n := range slices.Sorted(maps.Keys(pods)) {
			if finished(pods[n]) {
				p.anew(project, service, n, pods[n], Start, new(int64))
			}
		}
	}
	p.versions(state)
	return p, none
}

// RestartAll plans to replace every container of the services by a fresh one of the same version. A nil grace is the containers' own.
func RestartAll(project string, state *State, services []string, grace *int64) *Plan {
	p := &Plan{Project: project, Namespace: NamespaceName(project), Services: services}
	for _, service := range services {
		pods := state.podsOf(service)
		for _, n := range slices.Sorted(maps.Keys(pods)) {
			p.anew(project, service, n, pods[n], Restart, grace)
		}
	}
	p.versions(state)
	return p
}

func (p *Plan) anew(project, service string, number int, pod *corev1.Pod, change string, grace *int64) {
	p.Steps = append(p.Steps, Step{Verb: DeletePod, Kind: "Pod", Name: pod.Name, Grace: grace, Why: change})
	p.Containers = append(p.Containers, Container{Name: ContainerName(project, service, number), Service: service, Number: number, Change: change})
}

// versions notes which version of each service the cluster wants.
func (p *Plan) versions(state *State) {
	for i := range p.Containers {
		for _, d := range state.Deployments {
			if d.Labels[api.LabelService] == p.Containers[i].Service {
				p.Containers[i].Version = VersionOf(d.Spec.Template.Annotations)
				if name := d.Spec.Template.Annotations[AnnotationContainerName]; name != "" {
					p.Containers[i].Name = name
				}
			}
		}
	}
}

// OneOff is a pod that runs one command in the place of a service, beside its containers. It has no part in the service's name or ports.
func OneOff(p *model.Project, service, name string, opts Options) (*corev1.Pod, error) {
	s, ok := p.Service(service)
	if !ok {
		return nil, errkind.New(errkind.NotFound, "no such service: %s", service)
	}
	opts.NoDeps = true
	b := &builder{project: p, state: &State{}, opts: opts, out: &desired{}}
	alone := *s
	alone.Ports, alone.Health, alone.Restart = nil, &model.Health{Disabled: true}, model.Restart{Policy: "always"}
	t := b.template(&alone, opts.Images[ImageRef(p.Name, s)])
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: t.ObjectMeta, Spec: t.Spec}
	pod.Name, pod.Namespace = name, NamespaceName(p.Name)
	delete(pod.Labels, api.LabelService)
	delete(pod.Annotations, api.AnnotationNumbered)
	delete(pod.Annotations, AnnotationContainerName)
	pod.Labels[api.LabelOneOff] = "true"
	pod.Labels[LabelRunService] = service
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	return pod, nil
}
