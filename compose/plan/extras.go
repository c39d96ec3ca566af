package plan

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/compose/model"
)

// asked is what a service asks of the engine because Kubernetes has no field for it.
func (b *builder) asked(s *model.Service) extras.Container {
	out := extras.Container{Init: s.Init, StopSignal: s.StopSignal, CPU: cpu(s.Resources), Memory: memory(s.Resources)}
	if s.Resources.Pids > 0 {
		out.PidsLimit = s.Resources.Pids
	}
	for name, limit := range s.Ulimits {
		if out.Ulimits == nil {
			out.Ulimits = map[string]extras.Ulimit{}
		}
		out.Ulimits[name] = extras.Ulimit{Soft: limit.Soft, Hard: limit.Hard}
	}
	for _, text := range s.Devices {
		out.Devices = append(out.Devices, device(text))
	}
	return out
}

// device reads "/dev/fuse:/dev/fuse:rwm"; the second and third part may be missing.
func device(text string) extras.Device {
	host, rest, _ := strings.Cut(text, ":")
	path, access, _ := strings.Cut(rest, ":")
	if path == "" {
		path = host
	}
	if access == "" {
		access = "rwm"
	}
	return extras.Device{Host: host, Path: path, Access: access}
}

func cpu(r model.Resources) *extras.CPU {
	if r.CPUShares <= 0 && r.CPUSet == "" {
		return nil
	}
	return &extras.CPU{Shares: max(r.CPUShares, 0), Set: r.CPUSet}
}

func memory(r model.Resources) *extras.Memory {
	if r.MemorySwap == 0 && r.Swappiness == nil {
		return nil
	}
	return &extras.Memory{Swap: r.MemorySwap, Swappiness: r.Swappiness}
}

// extras writes the document, if there is anything to ask for. What the engine would refuse is found here, before anything is changed.
func (b *builder) extras(s *model.Service, t *corev1.PodTemplateSpec, asked extras.Container) {
	slices.Sort(asked.Fill)
	container := t.Spec.Containers[0].Name
	d := extras.New(container, asked)
	if s.ShmSize > 0 {
		d.ShmSize = s.ShmSize
	}
	if d.Empty() {
		return
	}
	for _, p := range d.Validate([]string{container}) {
		b.problem("service %q: %s", s.Name, strings.TrimPrefix(p.String(), "containers["+container+"]."))
	}
	t.Annotations[api.AnnotationExtras] = d.String()
}

// outdated is true of a template by an older version, which said to the engine in other words what this one does not read any more.
func outdated(annotations map[string]string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(annotations)), func(key string) bool {
		return strings.HasPrefix(key, api.EnginePrefix) && key != api.AnnotationExtras
	})
}
