package plan

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cuppa-project/cuppa/compose/model"
)

// The defaults of a health check.
const (
	defaultInterval      = 30 * time.Second
	defaultTimeout       = 30 * time.Second
	defaultRetries       = 3
	defaultStartInterval = 5 * time.Second
)

// drain is how long a container of a published service goes on answering after its end was decided, until no node sends it requests any more.
const drain = 1

// probes turns a health check into a startup and a readiness probe. There is never a liveness probe: Compose marks a sick container and lets it
// run; for the same reason the startup probe never gives up.
//
// A service that publishes a TCP port and has no health check is ready when that port accepts connections. So a rolling update waits for the
// new container to listen before the old one goes.
func (b *builder) probes(s *model.Service, image Image, spec *corev1.PodSpec, c *corev1.Container) {
	h := s.Health
	if h == nil || (len(h.Test) == 0 && !h.Disabled) {
		h = inherit(h, image.Health)
	}
	port := tcpPort(s)
	switch {
	case h != nil && !h.Disabled && len(h.Test) > 1:
		c.StartupProbe, c.ReadinessProbe = healthProbes(h)
	case port > 0:
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(port)}},
			PeriodSeconds: 1, TimeoutSeconds: 1, FailureThreshold: 3}
	}
	if port > 0 && !exclusive(s) && seconds(s.StopGracePeriod) > drain {
		c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: drain}}}
		// The time the container itself has to end stays what the file says.
		*spec.TerminationGracePeriodSeconds += drain
	}
}

// inherit takes the image's test, with the timing the service gives.
func inherit(h, image *model.Health) *model.Health {
	if h == nil || image == nil {
		return image
	}
	out := *h
	out.Test = image.Test
	return &out
}

func tcpPort(s *model.Service) int32 {
	if s.NetworkMode == "host" {
		return 0
	}
	for _, p := range s.Ports {
		if p.Protocol == "tcp" {
			return int32(p.Target)
		}
	}
	return 0
}

func healthProbes(h *model.Health) (startup, ready *corev1.Probe) {
	interval, timeout, retries := h.Interval, h.Timeout, h.Retries
	if interval == 0 {
		interval = defaultInterval
	}
	if timeout == 0 {
		timeout = defaultTimeout
	}
	if retries == 0 {
		retries = defaultRetries
	}
	first := h.StartInterval
	if first == 0 {
		first = min(interval, defaultStartInterval)
	}
	action := corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: testCommand(h.Test)}}
	probe := corev1.Probe{ProbeHandler: action, PeriodSeconds: max(seconds(interval), 1), TimeoutSeconds: max(seconds(timeout), 1),
		FailureThreshold: int32(min(retries, math.MaxInt32))}
	start := probe
	start.PeriodSeconds, start.FailureThreshold = max(seconds(first), 1), math.MaxInt32
	return &start, &probe
}

func testCommand(test []string) []string {
	if test[0] == "CMD-SHELL" {
		return []string{"/bin/sh", "-c", test[1]}
	}
	return test[1:]
}

// GraceWithoutDrain is the grace of a pod as its file says it, if that is less than the pod's own because of draining; nil otherwise.
func GraceWithoutDrain(pod *corev1.Pod) *int64 {
	own := pod.Spec.TerminationGracePeriodSeconds
	for _, c := range pod.Spec.Containers {
		if own != nil && c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Sleep != nil && *own > drain {
			return new(*own - c.Lifecycle.PreStop.Sleep.Seconds)
		}
	}
	return nil
}
