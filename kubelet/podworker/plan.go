package podworker

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// Decide says what to do now for one pod. It is a pure function; what is under way already (Memory.Running) is never
// asked for again.
func Decide(in Input) Plan {
	p := planner{Input: in, plan: Plan{Verdict: Judge(in)}}
	switch p.plan.Verdict.Stage {
	case Active:
		p.active()
	default:
		p.end()
	}
	p.plan.Actions = slices.DeleteFunc(p.plan.Actions, func(a Action) bool {
		running, ok := in.Memory.Running[a.Key()]
		return ok && !supersedes(a, running, in.Now)
	})
	return p.plan
}

type planner struct {
	Input
	plan Plan
}

// supersedes tells whether an action replaces the one under way: only a stop that ends earlier does.
func supersedes(a Action, running Operation, now time.Time) bool {
	if a.Verb != StopContainer || running.Verb != StopContainer {
		return false
	}
	return now.Add(a.Grace).Before(running.Began.Add(running.Grace))
}

func (p *planner) busy(key string) bool {
	_, ok := p.Memory.Running[key]
	return ok
}

// active makes the pod run: volumes and sandbox side by side, then init containers in order, then the others.
func (p *planner) active() {
	if end, ok := Deadline(p.Pod); ok {
		p.plan.wake(end)
	}
	if !p.Memory.Mounted {
		if p.Memory.Mount.Until.After(p.Now) {
			p.plan.wake(p.Memory.Mount.Until)
		} else {
			p.plan.add(Action{Verb: MountVolumes})
		}
	}
	if at := p.Memory.RefreshAt; !at.IsZero() {
		if at.After(p.Now) {
			p.plan.wake(at)
		} else {
			p.plan.add(Action{Verb: RefreshVolumes})
		}
	}
	p.collect()
	sandbox, ok := p.Observed.Ready()
	if !ok {
		p.newSandbox()
		return
	}
	if !p.Memory.Mounted || p.restartAll() {
		return
	}
	initialized := p.initialized(sandbox)
	if !p.initContainers(sandbox, initialized) {
		return
	}
	for i := range p.Pod.Spec.Containers {
		p.container(&p.Pod.Spec.Containers[i], sandbox)
	}
	p.ephemeral(sandbox)
	p.resize()
}

// newSandbox replaces a sandbox that is gone or broken: its containers cannot run on in another one.
func (p *planner) newSandbox() {
	if p.busy(Action{Verb: CreateSandbox}.Key()) {
		return // what is seen of it now may be half of it
	}
	attempt := uint32(0)
	for _, old := range p.Observed.Sandboxes {
		attempt = max(attempt, old.Attempt+1)
	}
	clear := true
	for _, c := range p.Observed.Containers {
		if c.State == observe.Running || c.State == observe.Unknown {
			p.stop(c, p.grace(), "Pod sandbox changed, it will be killed and re-created.")
			clear = false
		}
	}
	if !clear || p.busy(string(StartContainer)) {
		return
	}
	for _, old := range p.Observed.Sandboxes {
		if !p.Memory.Stopped[old.ID] {
			p.plan.add(Action{Verb: StopSandbox, ID: old.ID})
			clear = false
		}
	}
	if !clear {
		return
	}
	if p.Memory.Sandbox.Until.After(p.Now) {
		p.plan.wake(p.Memory.Sandbox.Until)
		return
	}
	p.plan.add(Action{Verb: CreateSandbox, Attempt: attempt})
}

// initialized tells whether the init containers have done their work in this sandbox: a container after them exists.
func (p *planner) initialized(sandbox observe.Sandbox) bool {
	for i := range p.Pod.Spec.Containers {
		if c := p.Observed.Newest(p.Pod.Spec.Containers[i].Name); c != nil && c.SandboxID == sandbox.ID {
			return true
		}
	}
	return false
}

// initContainers runs the next init container and keeps sidecars running. It returns whether the others may start.
func (p *planner) initContainers(sandbox observe.Sandbox, initialized bool) bool {
	for i := range p.Pod.Spec.InitContainers {
		init := &p.Pod.Spec.InitContainers[i]
		sidecar := IsSidecar(init)
		if initialized && !sidecar {
			continue
		}
		last := p.Observed.Newest(init.Name)
		if last != nil && last.SandboxID != sandbox.ID {
			last = nil
		}
		switch {
		case last != nil && last.State == observe.Exited && last.ExitCode == 0 && !sidecar:
			continue
		case last != nil && last.State == observe.Running && sidecar:
			p.container(init, sandbox)
			if p.Probes[last.ID].Started && !p.starting(init.Name) || initialized {
				continue
			}
		default:
			p.container(init, sandbox)
			if initialized {
				continue
			}
		}
		return false
	}
	return true
}

// starting tells whether the start of a container, its postStart hook included, is still under way.
func (p *planner) starting(name string) bool {
	op, ok := p.Memory.Running[string(StartContainer)]
	return ok && op.Name == name
}

// container brings one container to where its spec wants it.
func (p *planner) container(c *corev1.Container, sandbox observe.Sandbox) {
	last := p.Observed.Newest(c.Name)
	switch {
	case p.starting(c.Name):
		p.watch(c, last) // it may fail its probes while its hook still runs
	case last == nil:
		p.start(c, p.recordedAttempt(c.Name), false)
	case last.State == observe.Created:
		p.plan.add(Action{Verb: RemoveContainer, Name: c.Name, ID: last.ID}) // left over from a start that was cut short
	case last.State == observe.Running || last.State == observe.Unknown:
		p.watch(c, last)
	case last.SandboxID != sandbox.ID && p.isInit(c.Name):
		p.start(c, last.Attempt+1, false)
	case RestartRule(p.Pod, c, last.ExitCode) == Leave:
	default:
		p.again(c, last)
	}
}

func (p *planner) isInit(name string) bool {
	return slices.ContainsFunc(p.Pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
}

// watch stops a running container that must make room for a new one.
func (p *planner) watch(c *corev1.Container, last *observe.Container) {
	if last == nil || last.State != observe.Running {
		return
	}
	probe := p.Probes[last.ID]
	switch {
	case probe.Failing != "":
		grace := p.grace()
		if probe.Grace != nil {
			grace = time.Duration(*probe.Grace) * time.Second
		}
		p.stop(*last, grace, probe.Failing)
	case last.Hash != "" && last.Hash != observe.Hash(c):
		p.stop(*last, p.grace(), "Container "+c.Name+" definition changed, will be restarted")
	}
}

// again restarts a container that has exited, when its back-off allows.
func (p *planner) again(c *corev1.Container, last *observe.Container) {
	if until := p.Memory.Crash[c.Name].Until(last.FinishedAt); until.After(p.Now) {
		p.plan.wake(until)
		p.wakeAfterShown(p.Memory.Start[c.Name])
		return
	}
	p.start(c, last.Attempt+1, true)
}

// wakeAfterShown looks again when a failure has been shown for long enough.
func (p *planner) wakeAfterShown(r Retry) {
	if shown := r.Since.Add(failureShown); r.Failed() && shown.After(p.Now) {
		p.plan.wake(shown)
	}
}

func (p *planner) start(c *corev1.Container, attempt uint32, restart bool) {
	retry := p.Memory.Start[c.Name]
	if retry.Until.After(p.Now) {
		p.plan.wake(retry.Until)
		p.wakeAfterShown(retry)
		return
	}
	if p.busy(string(StartContainer)) || slices.ContainsFunc(p.plan.Actions, func(a Action) bool { return a.Verb == StartContainer }) {
		return
	}
	p.plan.add(Action{Verb: StartContainer, Name: c.Name, Attempt: attempt, Restart: restart})
}

func (p *planner) stop(c observe.Container, grace time.Duration, reason string) {
	p.plan.add(Action{Verb: StopContainer, Name: c.Name, ID: c.ID, Grace: grace, Reason: reason})
}

// recordedAttempt continues the count that the API remembers when the runtime has lost its containers.
func (p *planner) recordedAttempt(name string) uint32 {
	for _, list := range [][]corev1.ContainerStatus{p.Pod.Status.InitContainerStatuses, p.Pod.Status.ContainerStatuses} {
		for _, s := range list {
			if s.Name == name && (s.ContainerID != "" || s.LastTerminationState.Terminated != nil) {
				return uint32(s.RestartCount) + 1
			}
		}
	}
	return 0
}

// grace is how long a container of this pod has to end.
func (p *planner) grace() time.Duration {
	if p.Removed && p.Pod.DeletionGracePeriodSeconds == nil || p.plan.Verdict.Hurry {
		return removedGrace
	}
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if p.Pod.Spec.TerminationGracePeriodSeconds != nil {
		seconds = *p.Pod.Spec.TerminationGracePeriodSeconds
	}
	if p.Pod.DeletionGracePeriodSeconds != nil {
		seconds = *p.Pod.DeletionGracePeriodSeconds
	}
	return time.Duration(seconds) * time.Second
}

// removedGrace is for pods that vanished from the API, since whoever forced that does not wait for them, and for those in a hurry.
const removedGrace = time.Second

// restartAll starts every container anew when a rule of one that exited says so: all are stopped and removed, the one that
// asked for it last, so that an interruption does not lose the wish.
func (p *planner) restartAll() bool {
	var trigger *observe.Container
	all := slices.Concat(p.Pod.Spec.InitContainers, p.Pod.Spec.Containers)
	for i := range all {
		last := p.Observed.Newest(all[i].Name)
		if last != nil && last.State == observe.Exited && RestartRule(p.Pod, &all[i], last.ExitCode) == RestartAll {
			trigger = last
		}
	}
	if trigger == nil {
		return false
	}
	if until := p.Memory.Crash[trigger.Name].Until(trigger.FinishedAt); until.After(p.Now) {
		p.plan.wake(until)
		return true
	}
	for _, c := range p.Observed.Containers {
		if c.State == observe.Running {
			p.stop(c, p.grace(), "Container "+c.Name+" is restarted together with its whole pod")
		}
	}
	if len(p.plan.Actions) > 0 || p.busy(string(StartContainer)) {
		return true
	}
	for _, c := range p.Observed.Containers {
		if c.ID != trigger.ID {
			p.plan.add(Action{Verb: RemoveContainer, Name: c.Name, ID: c.ID})
		}
	}
	if len(p.plan.Actions) == 0 {
		p.plan.add(Action{Verb: RemoveContainer, Name: trigger.Name, ID: trigger.ID, Restart: true})
	}
	return true
}

// ephemeral starts the containers that were added for debugging, each once.
func (p *planner) ephemeral(observe.Sandbox) {
	for i := range p.Pod.Spec.EphemeralContainers {
		c := corev1.Container(p.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		last := p.Observed.Newest(c.Name)
		if last == nil && !p.starting(c.Name) {
			p.start(&c, 0, false)
		}
	}
}

// collect removes records that nobody will ask for: of each name one dead container beside the newest is kept for its logs.
func (p *planner) collect() {
	count := map[string]int{}
	inUse := map[string]bool{}
	for _, c := range p.Observed.Containers {
		count[c.Name]++
		if c.State == observe.Exited && count[c.Name] > 2 {
			p.plan.add(Action{Verb: RemoveContainer, Name: c.Name, ID: c.ID})
			continue
		}
		inUse[c.SandboxID] = true
	}
	for i, s := range p.Observed.Sandboxes {
		if i > 0 && !s.Ready && !inUse[s.ID] {
			p.plan.add(Action{Verb: RemoveSandbox, ID: s.ID})
		}
	}
}
