// Package probe asks running containers whether they have started, are alive and are ready.
//
// It only asks and counts; what follows from the answers is decided elsewhere. Start with Set, which holds the probes of one pod;
// handler.go sends single probes.
package probe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// Kind is which question a probe asks.
type Kind string

// The kinds, as users read them in events.
const (
	Startup   Kind = "Startup"
	Liveness  Kind = "Liveness"
	Readiness Kind = "Readiness"
)

// State is what the probes of one container have found.
type State struct {
	Started bool
	Ready   bool
	Failing string // why the container must be restarted
	Grace   *int64 // the failing probe's own grace
}

// Target is one running container.
type Target struct {
	Pod       *corev1.Pod
	Spec      *corev1.Container
	Container observe.Container
	IP        string // where its ports are
	WasReady  bool   // what was last known of it, until its first probe
	WasUp     bool
}

// Config is what a Set needs.
type Config struct {
	Handler Handler
	// Unhealthy is called for every failed probe.
	Unhealthy func(t Target, kind Kind, message string)
	// Changed is called when a State has changed. It must not block.
	Changed func()
}

// Set holds the probes of one pod.
type Set struct {
	Config
	mu    sync.Mutex
	known map[string]*probed
	wait  sync.WaitGroup
	last  atomic.Bool // the pod is on its way out
}

type probed struct {
	state  State
	cancel context.CancelFunc
}

// NewSet returns a Set without probes.
func NewSet(config Config) *Set { return &Set{Config: config, known: map[string]*probed{}} }

// Watch begins to probe a container until ctx ends or Keep drops it. A container that is probed already is left alone.
func (s *Set) Watch(ctx context.Context, t Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.known[t.Container.ID]; ok {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &probed{cancel: cancel, state: State{
		Started: t.Spec.StartupProbe == nil || t.WasUp,
		Ready:   t.Spec.ReadinessProbe == nil || t.WasReady,
	}}
	s.known[t.Container.ID] = p
	started := make(chan struct{})
	if p.state.Started {
		close(started)
	} else {
		s.run(ctx, t, Startup, t.Spec.StartupProbe, nil, started)
	}
	if t.Spec.LivenessProbe != nil {
		s.run(ctx, t, Liveness, t.Spec.LivenessProbe, started, nil)
	}
	if t.Spec.ReadinessProbe != nil {
		s.run(ctx, t, Readiness, t.Spec.ReadinessProbe, started, nil)
	}
}

// Keep ends the probes of every container that is not in running.
func (s *Set) Keep(running map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.known {
		if !running[id] {
			p.cancel()
			delete(s.known, id)
		}
	}
}

// LastWords makes the set ask about readiness only: the pod is on its way out, and nothing will be restarted any more.
func (s *Set) LastWords() { s.last.Store(true) }

// Close ends all probes and waits for them.
func (s *Set) Close() {
	s.Keep(nil)
	s.wait.Wait()
}

// States returns what is known, by container ID. Before its startup probe has succeeded a container is not ready.
func (s *Set) States() map[string]State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]State, len(s.known))
	for id, p := range s.known {
		state := p.state
		state.Ready = state.Ready && state.Started
		out[id] = state
	}
	return out
}

func (s *Set) run(ctx context.Context, t Target, kind Kind, spec *corev1.Probe, after, done chan struct{}) {
	s.wait.Go(func() {
		if after != nil {
			select {
			case <-after:
			case <-ctx.Done():
				return
			}
		}
		s.loop(ctx, t, kind, withDefaults(spec), done)
	})
}

// withDefaults fills in what the API fills in, for pods that did not come through it.
func withDefaults(p *corev1.Probe) *corev1.Probe {
	out := *p
	out.TimeoutSeconds = max(out.TimeoutSeconds, 1)
	if out.PeriodSeconds == 0 {
		out.PeriodSeconds = 10
	}
	if out.FailureThreshold == 0 {
		out.FailureThreshold = 3
	}
	out.SuccessThreshold = max(out.SuccessThreshold, 1)
	return &out
}

// firstEager is the pause before the second attempt at a container that has just started.
const firstEager = 10 * time.Millisecond

func (s *Set) loop(ctx context.Context, t Target, kind Kind, spec *corev1.Probe, done chan struct{}) {
	first := t.Container.StartedAt.Add(time.Duration(spec.InitialDelaySeconds) * time.Second)
	if !sleep(ctx, time.Until(first)) {
		return
	}
	counter := counter{success: spec.SuccessThreshold, failure: spec.FailureThreshold}
	period := time.Duration(spec.PeriodSeconds) * time.Second
	// A container that has just started is often ready within milliseconds. Until a readiness or startup probe has succeeded once, a failure is
	// followed by quicker attempts at growing intervals, which count for nothing; the period is the longest of them.
	eager := firstEager
	for kind == Readiness || !s.last.Load() {
		began := time.Now()
		_, err := s.Handler.Do(ctx, t, spec)
		if ctx.Err() != nil {
			return
		}
		if err != nil && kind != Liveness && eager < period {
			if !sleep(ctx, eager) {
				return
			}
			eager *= 2
			continue
		}
		eager = period
		if err != nil && !s.last.Load() {
			s.Unhealthy(t, kind, fmt.Sprintf("%s probe failed: %v", kind, err))
		}
		if result, decided := counter.add(err == nil); decided {
			if s.apply(t, kind, spec, result) && done != nil {
				close(done)
				return
			}
			if !result && kind != Readiness {
				return // the container is about to be restarted
			}
		}
		if !sleep(ctx, period-time.Since(began)) {
			return
		}
	}
}

// apply records a decided result and returns it.
func (s *Set) apply(t Target, kind Kind, spec *corev1.Probe, ok bool) bool {
	s.mu.Lock()
	p, known := s.known[t.Container.ID]
	if !known {
		s.mu.Unlock()
		return false
	}
	before := p.state
	switch {
	case kind == Readiness:
		p.state.Ready = ok
	case kind == Startup && ok:
		p.state.Started = true
	case !ok:
		word := map[Kind]string{Startup: "startup", Liveness: "liveness"}[kind]
		p.state.Failing = fmt.Sprintf("Container %s failed %s probe, will be restarted", t.Spec.Name, word)
		p.state.Grace = spec.TerminationGracePeriodSeconds
	}
	changed := before != p.state
	s.mu.Unlock()
	if changed {
		s.Changed()
	}
	return ok
}

// counter turns single answers into decided ones.
type counter struct {
	success, failure int32
	last             bool
	run              int32
}

// add counts an answer and returns whether it, and as many before it as the threshold asks for, agree.
func (c *counter) add(ok bool) (result, decided bool) {
	if c.run == 0 || c.last != ok {
		c.last, c.run = ok, 0
	}
	c.run++
	if ok {
		return true, c.run >= c.success
	}
	return false, c.run >= c.failure
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
