// Package podworker takes one pod from bound to its end.
//
// It decides and acts; it does not know how volumes are written, images are pulled or probes are sent (Deps names what it uses). Start
// with plan.go: Decide is a pure function from what is wanted, observed and remembered to a printable Plan. worker.go
// carries plans out, never blocking: everything slow runs beside it and reports back. pool.go holds all the workers.
package podworker

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// Input is all that a decision depends on.
type Input struct {
	Pod      *corev1.Pod
	Removed  bool // the API has no such pod any more
	Observed observe.Pod
	Probes   map[string]Probe // by container ID
	Memory   Memory
	LimitCPU bool // the node enforces cpu limits
	Now      time.Time
}

// Probe is what the probes of one container say.
type Probe struct {
	Started bool   // its startup probe has succeeded, or it has none
	Ready   bool   // its readiness probe succeeds, or it has none
	Failing string // why it must be restarted, or empty
	Grace   *int64 // the failing probe's own termination grace, or nil
}

// Memory is what a worker knows beyond the API and the runtime. It is lost when the process dies, and nothing but
// back-off delays depends on it then.
type Memory struct {
	Rejected  *Outcome                  // the node cannot take this pod, or had to end it
	Mounted   bool                      // volumes are in place
	Unmounted bool                      // volumes were taken down again
	Mount     Retry                     // the last failure to mount
	Sandbox   Retry                     // the last failure to make a sandbox
	Start     map[string]Retry          // by container name: the last failure to start one
	Crash     map[string]Backoff        // by container name: how restarts are spaced
	Room      Room                      // why the pod cannot have the resources that its spec asks for now
	Resize    Retry                     // the last failure to change the resources of what runs
	Resized   map[string]observe.Cgroup // by container ID: what its control group was changed to
	Stopped   map[string]bool           // sandboxes by ID that have been stopped for good
	Running   map[string]Operation      // by Action.Key: what is under way
	Reported  bool                      // the final status has been accepted by the API
	Forgotten bool                      // the pod has been deleted from the API by us
	Cleaned   bool                      // directories are gone
	RefreshAt time.Time                 // when what volumes mirror must be looked at again; zero: never
	EndBegan  time.Time                 // when the first container was asked to stop for the pod's end
}

// Operation is an action under way.
type Operation struct {
	Action
	Began time.Time
}

// Outcome is an end that was decided for a pod, rather than reached by its containers.
type Outcome struct {
	Phase           corev1.PodPhase
	Reason, Message string
	Hurry           bool // the node cannot wait for the containers' grace
}

// Retry is a failure and when to try again.
type Retry struct {
	Reason, Message string
	Since, Until    time.Time
	Delay           time.Duration
}

// Failed tells whether there is a failure to speak of.
func (r Retry) Failed() bool { return r.Reason != "" }

// Next is the failure after r: the delay doubles from first to limit.
func (r Retry) Next(now time.Time, reason, message string, first, limit time.Duration) Retry {
	delay := first
	if r.Delay > 0 {
		delay = min(2*r.Delay, limit)
	}
	return Retry{Reason: reason, Message: message, Since: now, Until: now.Add(delay), Delay: delay}
}

// Backoff spaces the restarts of one container: none before the first, then 10 s doubling to 5 min, forgotten after the
// container ran well for 10 min.
type Backoff struct {
	Delay time.Duration
	Since time.Time // when Delay was last changed
}

// Limits of Backoff.
const (
	firstCrashDelay = 10 * time.Second
	maxCrashDelay   = 5 * time.Minute
	crashReset      = 10 * time.Minute
)

// Until returns when a container that ended at the given time may start again.
func (b Backoff) Until(finished time.Time) time.Time {
	if b.Delay == 0 || finished.Sub(b.Since) > crashReset {
		return time.Time{}
	}
	return finished.Add(b.Delay)
}

// Next is the state after one more restart of a container that ended at the given time.
func (b Backoff) Next(finished, now time.Time) Backoff {
	if b.Delay == 0 || finished.Sub(b.Since) > crashReset {
		return Backoff{Delay: firstCrashDelay, Since: now}
	}
	return Backoff{Delay: min(2*b.Delay, maxCrashDelay), Since: now}
}

// Verb is one kind of action.
type Verb string

// The verbs. Every action may run beside others; Key says which exclude each other.
const (
	MountVolumes    Verb = "mount-volumes"
	RefreshVolumes  Verb = "refresh-volumes"
	UnmountVolumes  Verb = "unmount-volumes"
	CreateSandbox   Verb = "create-sandbox"
	StopSandbox     Verb = "stop-sandbox"
	RemoveSandbox   Verb = "remove-sandbox"
	StartContainer  Verb = "start"        // image, create, start, postStart hook
	CancelStart     Verb = "cancel-start" // give up what is being made
	ResizePod       Verb = "resize"       // new limits for what runs
	StopContainer   Verb = "stop"         // preStop hook, signal, grace, kill
	RemoveContainer Verb = "remove"
	Report          Verb = "report" // write the final status
	Forget          Verb = "forget" // delete the pod from the API
	Clean           Verb = "clean"  // remove the pod's directories
)

// Action is one thing to do.
type Action struct {
	Verb    Verb
	Name    string // of the container
	ID      string // of the container or sandbox
	Attempt uint32
	Restart bool // a start that counts against the back-off
	Grace   time.Duration
	Reason  string // for people, why a container is stopped
}

// Key names what may not be done twice at a time. Containers of one pod are started one after the other, because a
// postStart hook holds back the ones after it.
func (a Action) Key() string {
	switch a.Verb {
	case StartContainer:
		return string(StartContainer)
	case MountVolumes, RefreshVolumes, UnmountVolumes:
		return "volumes"
	case StopContainer, RemoveContainer:
		return "container/" + a.ID
	case CreateSandbox:
		return "sandbox"
	case StopSandbox, RemoveSandbox:
		return "sandbox/" + a.ID
	default:
		return string(a.Verb)
	}
}

// makes tells whether the action is a step of making a pod.
func (a Action) makes() bool {
	switch a.Verb {
	case MountVolumes, RefreshVolumes, CreateSandbox, StartContainer:
		return true
	default:
		return false
	}
}

// touchesRuntime tells whether the runtime must be looked at after the action.
func (a Action) touchesRuntime() bool {
	switch a.Verb {
	case CreateSandbox, StopSandbox, RemoveSandbox, StartContainer, StopContainer, RemoveContainer, ResizePod:
		return true
	default:
		return false
	}
}

func (a Action) String() string {
	words := []string{string(a.Verb)}
	if a.Name != "" {
		words = append(words, a.Name)
	}
	if a.ID != "" {
		words = append(words, "id="+a.ID)
	}
	if a.Verb == StartContainer || a.Verb == CreateSandbox {
		words = append(words, fmt.Sprintf("attempt=%d", a.Attempt))
	}
	if a.Verb == StopContainer {
		words = append(words, fmt.Sprintf("grace=%s", a.Grace))
	}
	if a.Reason != "" {
		words = append(words, fmt.Sprintf("reason=%q", a.Reason))
	}
	return strings.Join(words, " ")
}

// Plan is a decision.
type Plan struct {
	Verdict Verdict
	Actions []Action
	Wake    time.Time // decide again then at the latest; zero: only when something happens
	Done    bool      // nothing is left of the pod
}

func (p *Plan) add(a Action) { p.Actions = append(p.Actions, a) }

func (p *Plan) wake(t time.Time) {
	if p.Wake.IsZero() || t.Before(p.Wake) {
		p.Wake = t
	}
}

func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", p.Verdict)
	for _, a := range p.Actions {
		fmt.Fprintf(&b, "  %s\n", a)
	}
	if p.Done {
		b.WriteString("  done\n")
	}
	return b.String()
}

// Reasons a container waits for, as users of Kubernetes know them.
const (
	ReasonContainerCreating    = "ContainerCreating"
	ReasonPodInitializing      = "PodInitializing"
	ReasonCrashLoopBackOff     = "CrashLoopBackOff"
	ReasonErrImagePull         = "ErrImagePull"
	ReasonImagePullBackOff     = "ImagePullBackOff"
	ReasonErrImageNeverPull    = "ErrImageNeverPull"
	ReasonInvalidImageName     = "InvalidImageName"
	ReasonImageInspectError    = "ImageInspectError"
	ReasonCreateConfigError    = "CreateContainerConfigError"
	ReasonCreateContainerError = "CreateContainerError"
	ReasonRunContainerError    = "RunContainerError"
	ReasonPostStartHookError   = "PostStartHookError"
)

// failureShown is how long the reason of a failed pull or start is shown before it is shown as being backed off.
const failureShown = 2 * time.Second
