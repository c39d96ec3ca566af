package plan

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/model"
)

// dependency is what the gate says of one service: the form that the dependency controller reads.
type dependency struct {
	Service   string `json:"service"`
	Condition string `json:"condition"`
	Required  *bool  `json:"required,omitempty"`
	Patience  int64  `json:"patience,omitempty"`
}

// gate holds the pods back until what they depend on is there. The dependency controller lifts it.
func (b *builder) gate(s *model.Service, t *corev1.PodTemplateSpec) {
	var list []dependency
	for _, d := range s.DependsOn {
		on, _ := b.project.Service(d.Service)
		dep := dependency{Service: d.Service, Condition: d.Condition}
		if !d.Required {
			dep.Required = new(false)
		}
		if !d.Required && d.Condition == "service_healthy" && on != nil {
			dep.Patience = int64(seconds(Patience(on.Health)))
		}
		if d.Required && on != nil && b.replicas(on) == 0 && b.replicas(s) > 0 {
			b.problem("service %q is missing dependency %q: no container of it is to run (scale 0)", s.Name, d.Service)
		}
		list = append(list, dep)
	}
	data, _ := json.Marshal(list)
	t.Annotations[api.AnnotationDependsOn] = string(data)
	t.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: api.GateDependsOn}}
}

// replicas is how many containers of a service are to run.
func (b *builder) replicas(s *model.Service) int {
	if b.opts.NoStart {
		return 0
	}
	if n, ok := b.opts.Scale[s.Name]; ok {
		return n
	}
	return s.Scale
}

// Patience is how long a health check takes to call a container unhealthy.
func Patience(h *model.Health) time.Duration {
	if h == nil {
		return defaultRetries * defaultInterval
	}
	interval, retries := h.Interval, h.Retries
	if interval == 0 {
		interval = defaultInterval
	}
	if retries == 0 {
		retries = defaultRetries
	}
	return h.StartPeriod + time.Duration(retries)*interval + min(h.Timeout, interval)
}
