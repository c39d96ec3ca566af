package plan

import (
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/model"
)

const labelService = api.LabelService

// selector picks the containers of a service. One-off containers are left out by not having the service's label.
func selector(project, service string) map[string]string {
	return map[string]string{api.LabelProject: project, api.LabelService: service}
}

// strategy says how a newer version replaces the running one. Unless the file decides, a service starts its new container before the old one
// goes, so that no request is lost; but one that writes to a named volume, or holds the node's ports, may not run twice at once.
func (b *builder) strategy(s *model.Service, d *appsv1.Deployment) {
	u := s.Update
	if u == nil {
		if exclusive(s) {
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
			return
		}
		u = &model.Update{Parallelism: 1, StartFirst: true}
	}
	step := intstr.FromInt32(int32(min(u.Parallelism, 1<<20)))
	if u.Parallelism == 0 {
		step = intstr.FromString("100%")
	}
	zero := intstr.FromInt32(0)
	rolling := &appsv1.RollingUpdateDeployment{MaxSurge: &zero, MaxUnavailable: &step}
	if u.StartFirst {
		rolling = &appsv1.RollingUpdateDeployment{MaxSurge: &step, MaxUnavailable: &zero}
	}
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: rolling}
	d.Spec.MinReadySeconds = seconds(u.Delay)
	if u.Monitor > 0 {
		// The deadline must be longer than the time a container has to stay ready.
		d.Spec.ProgressDeadlineSeconds = new(max(seconds(u.Monitor), d.Spec.MinReadySeconds+1))
	}
}

func exclusive(s *model.Service) bool {
	return s.NetworkMode == "host" || slices.ContainsFunc(s.Mounts, func(m model.Mount) bool { return m.Kind == model.Named && !m.ReadOnly })
}

// seconds rounds up: Kubernetes counts in whole seconds, and nobody is to wait less than was asked for.
func seconds(d time.Duration) int32 { return int32((d + time.Second - 1) / time.Second) }

// hostNames collects every name by which a container of the project can be reached and the services that answer to it.
func (b *builder) hostNames() {
	b.names = map[string][]string{}
	add := func(name, service string) {
		dns := label(name)
		if dns != "" && !slices.Contains(b.names[dns], service) {
			b.names[dns] = append(b.names[dns], service)
		}
		if dns != name {
			b.warn("the name %q is no host name: other services reach %s as %q", name, service, dns)
		}
	}
	for i := range b.project.Services {
		s := &b.project.Services[i]
		add(s.Name, s.Name)
		for _, alias := range s.Aliases {
			add(alias, s.Name)
		}
		if s.ContainerName != "" {
			add(s.ContainerName, s.Name)
		}
		for _, l := range s.Links {
			if _, ok := b.project.Service(l.Service); ok {
				add(l.Alias, l.Service)
			}
		}
	}
}

// sharedNames are the names that this service answers to together with others. Its pods carry a label for each, for a Service selects by
// labels that must all match.
func (b *builder) sharedNames(service string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(b.names)) {
		if who := b.names[name]; len(who) > 1 && slices.Contains(who, service) {
			out = append(out, name)
		}
	}
	return out
}

func nameLabel(name string) string { return "name.compose.cuppa.dev/" + name }

func restartCount(s *model.Service) string { return strconv.Itoa(s.Restart.MaxRetries) }
