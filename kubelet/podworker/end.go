package podworker

import (
	"time"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// end takes a pod down: containers, then sidecars in reverse order, then the sandbox, then volumes. A finished pod stays like that;
// a deleted one is then forgotten by the API and removed from this node.
func (p *planner) end() {
	if p.making() {
		p.plan.add(Action{Verb: CancelStart})
	}
	if p.stopContainers() || p.busy(string(StartContainer)) || p.busy("sandbox") {
		return
	}
	if p.stopSandboxes() {
		return
	}
	if !p.Memory.Unmounted {
		p.plan.add(Action{Verb: UnmountVolumes})
		return
	}
	if p.plan.Verdict.Stage == Finishing {
		p.collect()
		return
	}
	p.vanish()
}

// making tells whether something of the pod is still being made, which would only have to be taken down again.
func (p *planner) making() bool {
	for _, op := range p.Memory.Running {
		if op.makes() {
			return true
		}
	}
	return false
}

// stopContainers stops what runs, and returns whether anything still does.
func (p *planner) stopContainers() bool {
	var main []observe.Container
	sidecars := make([]*observe.Container, len(p.Pod.Spec.InitContainers))
	for _, c := range p.Observed.Containers {
		if c.State != observe.Running && c.State != observe.Unknown {
			continue
		}
		i := p.sidecarIndex(c.Name)
		if i < 0 {
			main = append(main, c)
			continue
		}
		sidecars[i] = &c
	}
	left := p.graceLeft()
	for _, c := range main {
		p.stop(c, p.grace(), "Stopping container "+c.Name)
	}
	any := len(main) > 0
	for i := len(sidecars) - 1; i >= 0; i-- {
		if sidecars[i] == nil {
			continue
		}
		// A sidecar outlives those it serves, but not the pod's grace.
		if !any {
			p.stop(*sidecars[i], min(p.grace(), left), "Stopping container "+sidecars[i].Name)
		} else {
			if left > 0 {
				p.plan.wake(p.Now.Add(left))
			} else {
				p.stop(*sidecars[i], 0, "Stopping container "+sidecars[i].Name)
			}
		}
		any = true
	}
	return any
}

// graceLeft is what remains of the pod's grace since its first container was asked to stop.
func (p *planner) graceLeft() time.Duration {
	left := p.grace()
	if !p.Memory.EndBegan.IsZero() {
		left = p.Memory.EndBegan.Add(p.grace()).Sub(p.Now)
	}
	return max(left, 0)
}

func (p *planner) sidecarIndex(name string) int {
	for i := range p.Pod.Spec.InitContainers {
		if c := &p.Pod.Spec.InitContainers[i]; c.Name == name && IsSidecar(c) {
			return i
		}
	}
	return -1
}

func (p *planner) stopSandboxes() bool {
	any := false
	for _, s := range p.Observed.Sandboxes {
		if s.Ready || !p.Memory.Stopped[s.ID] {
			p.plan.add(Action{Verb: StopSandbox, ID: s.ID})
			any = true
		}
	}
	return any
}

// vanish tells the API, then removes every trace. The API is told first: if this process dies between the two, the traces
// of a pod that the API does not know are removed at the next start.
func (p *planner) vanish() {
	switch {
	case !p.Removed && !p.Memory.Reported:
		p.plan.add(Action{Verb: Report})
	case !p.Removed && !p.Memory.Forgotten:
		p.plan.add(Action{Verb: Forget})
	case !p.Observed.Empty():
		for _, s := range p.Observed.Sandboxes { // their containers go with them
			p.plan.add(Action{Verb: RemoveSandbox, ID: s.ID})
		}
		if len(p.Observed.Sandboxes) > 0 {
			return
		}
		for _, c := range p.Observed.Containers {
			p.plan.add(Action{Verb: RemoveContainer, Name: c.Name, ID: c.ID})
		}
	case !p.Memory.Cleaned:
		p.plan.add(Action{Verb: Clean})
	default:
		p.plan.Done = len(p.plan.Actions) == 0 && len(p.Memory.Running) == 0
	}
}
