package podworker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	helper "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/kube/events"
	"github.com/cuppa-project/cuppa/kubelet/criconfig"
	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// Room is why the node cannot give a running pod the resources that its spec asks for now. The zero value: it can.
type Room struct {
	Reason  string // PodReasonInfeasible (never) or PodReasonDeferred (not now)
	Message string
}

// RoomFor decides whether a running pod may have what its spec asks for, beside the others of this node.
func RoomFor(pod *corev1.Pod, others []*corev1.Pod, allocatable corev1.ResourceList) Room {
	used := corev1.ResourceList{}
	for _, other := range others {
		if other.UID != pod.UID && other.Status.Phase != corev1.PodSucceeded && other.Status.Phase != corev1.PodFailed {
			addTo(used, helper.PodRequests(other, helper.PodResourcesOptions{UseStatusResources: true}))
		}
	}
	wanted := helper.PodRequests(pod, helper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		capacity, known := allocatable[name]
		ask := wanted[name]
		if !known || ask.Sign() <= 0 {
			continue
		}
		if ask.Cmp(capacity) > 0 {
			return Room{corev1.PodReasonInfeasible, fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d",
				name, amount(name, ask), amount(name, capacity))}
		}
		total := used[name]
		total.Add(ask)
		if total.Cmp(capacity) > 0 {
			return Room{corev1.PodReasonDeferred, fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
				name, amount(name, ask), amount(name, used[name]), amount(name, capacity))}
		}
	}
	return Room{}
}

// resizeAsked tells whether a container's spec asks for something else than the node has said that it gives.
func resizeAsked(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			c := containerOf(pod, list[i].Name)
			if c == nil || list[i].Resources == nil {
				continue
			}
			if !sameAmounts(c.Resources.Requests, list[i].AllocatedResources) || !sameAmounts(c.Resources.Limits, list[i].Resources.Limits) {
				return true
			}
		}
	}
	return false
}

func sameAmounts(a, b corev1.ResourceList) bool {
	return len(a) == 0 && len(b) == 0 || equality.Semantic.DeepEqual(a, b)
}

// given is what the node has granted a container, which is not what its spec asks for while a resize has no room.
func given(in Input, c *corev1.Container) corev1.ResourceRequirements {
	if in.Memory.Room.Reason == "" {
		return c.Resources
	}
	for _, list := range [][]corev1.ContainerStatus{in.Pod.Status.InitContainerStatuses, in.Pod.Status.ContainerStatuses} {
		for i := range list {
			if list[i].Name == c.Name && list[i].Resources != nil {
				return corev1.ResourceRequirements{Requests: list[i].AllocatedResources, Limits: list[i].Resources.Limits, Claims: c.Resources.Claims}
			}
		}
	}
	return c.Resources
}

// wanted is what a container's control group should hold; ok is false if its runtime does not say what it holds, or it does not run.
func wanted(in Input, c *corev1.Container) (last *observe.Container, want observe.Cgroup, ok bool) {
	last = in.Observed.Newest(c.Name)
	if last == nil || last.State != observe.Running || last.Cgroup == (observe.Cgroup{}) {
		return last, want, false
	}
	return last, criconfig.Cgroup(given(in, c), in.LimitCPU), true
}

// has is what a container's control group holds: what it was last set to, else what the runtime says.
func has(in Input, c *observe.Container) observe.Cgroup {
	if set, ok := in.Memory.Resized[c.ID]; ok {
		return set
	}
	return c.Cgroup
}

// unsized lists the running containers whose control group differs from what they should have.
func unsized(in Input) []*corev1.Container {
	var out []*corev1.Container
	for _, list := range [][]corev1.Container{in.Pod.Spec.InitContainers, in.Pod.Spec.Containers} {
		for i := range list {
			if last, want, ok := wanted(in, &list[i]); ok && want != has(in, last) {
				out = append(out, &list[i])
			}
		}
	}
	return out
}

// resize gives running containers the resources that their spec asks for: in place, or by a restart where the container says so.
func (p *planner) resize() {
	all := unsized(p.Input)
	if len(all) == 0 && !p.Memory.Resize.Failed() {
		return
	}
	if p.Memory.Resize.Until.After(p.Now) {
		p.plan.wake(p.Memory.Resize.Until)
		return
	}
	left := p.Memory.Resize.Failed()
	for _, c := range all {
		last, want, _ := wanted(p.Input, c)
		if p.busy(Action{Verb: StopContainer, ID: last.ID}.Key()) {
			continue // it makes room for its next incarnation
		}
		left = true
		if restartsOn(c, has(p.Input, last), want) {
			p.stop(*last, p.grace(), "Container "+c.Name+" resize requires restart")
		}
	}
	if left {
		p.plan.add(Action{Verb: ResizePod})
	}
}

// restartsOn tells whether a container wants to be restarted for a change of its resources.
func restartsOn(c *corev1.Container, now, want observe.Cgroup) bool {
	changed := map[corev1.ResourceName]bool{
		corev1.ResourceMemory: now.Memory != want.Memory,
		corev1.ResourceCPU:    now.Shares != want.Shares || now.Quota != want.Quota || now.Period != want.Period,
	}
	return slices.ContainsFunc(c.ResizePolicy, func(p corev1.ContainerResizePolicy) bool {
		return p.RestartPolicy == corev1.RestartContainer && changed[p.ResourceName]
	})
}

// resizePod writes new limits: the pod's own are lifted first, so that neither a larger container nor a smaller pod is in the other's way.
func resizePod(ctx context.Context, w *Worker, in Input, _ Action) func(*Memory) {
	set := map[string]observe.Cgroup{}
	err := w.resize(ctx, in, set)
	if ctx.Err() != nil {
		return nil
	}
	now := time.Now()
	if err != nil {
		w.warn(in.Pod, "ResizeError", "Pod resize failed: "+err.Error())
	} else if len(set) > 0 {
		w.deps.Events.About(events.Reference(in.Pod), corev1.EventTypeNormal, "ResizeCompleted", fmt.Sprintf("Pod resize completed: generation %d", in.Pod.Generation))
	}
	return func(m *Memory) {
		for id, cgroup := range set {
			m.Resized[id] = cgroup
		}
		if err == nil {
			m.Resize = Retry{}
			return
		}
		m.Resize = m.Resize.Next(now, corev1.PodReasonError, err.Error(), firstRetry, lastRetry)
	}
}

func (w *Worker) resize(ctx context.Context, in Input, set map[string]observe.Cgroup) error {
	sandbox, ok := in.Observed.Ready()
	if !ok {
		return nil
	}
	pod := in.Pod.DeepCopy()
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			list[i].Resources = given(in, &list[i])
		}
	}
	limits := func(r *runtimeapi.LinuxContainerResources) error {
		_, err := w.deps.Runtime.UpdatePodSandboxResources(ctx, &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: sandbox.ID, Resources: r})
		return err
	}
	if err := limits(criconfig.Lifted(pod)); err != nil {
		return fmt.Errorf("lift the pod's limits: %w", err)
	}
	var errs []error
	for _, c := range unsized(in) {
		last, want, _ := wanted(in, c)
		if restartsOn(c, has(in, last), want) {
			continue // it gets them when it is started again
		}
		resources := criconfig.Resources(given(in, c), w.deps.Node.LimitCPU)
		if err := w.deps.Runtime.UpdateContainerResources(ctx, last.ID, &runtimeapi.ContainerResources{Linux: resources}); err != nil {
			errs = append(errs, fmt.Errorf("container %s: %w", c.Name, err))
			continue
		}
		set[last.ID] = want
	}
	if err := limits(criconfig.PodResources(pod)); err != nil {
		errs = append(errs, fmt.Errorf("set the pod's limits: %w", err))
	}
	return errors.Join(errs...)
}

// resizeConditions tell how far a change of resources is; none: nothing is changing.
func (d *describer) resizeConditions() []corev1.PodCondition {
	if d.verdict.Stage != Active {
		return nil
	}
	if room := d.Memory.Room; room.Reason != "" {
		c := yes(corev1.PodResizePending)
		c.Reason, c.Message = room.Reason, room.Message
		return []corev1.PodCondition{c}
	}
	if len(unsized(d.Input)) == 0 && !d.Memory.Resize.Failed() {
		return nil
	}
	c := yes(corev1.PodResizeInProgress)
	c.Reason, c.Message = d.Memory.Resize.Reason, d.Memory.Resize.Message
	return []corev1.PodCondition{c}
}

// resources says what a container was granted, and what it has at this moment.
func (d *describer) resources(out *corev1.ContainerStatus, c *corev1.Container, before []corev1.ContainerStatus) {
	granted := given(d.Input, c)
	out.AllocatedResources = granted.DeepCopy().Requests
	out.Resources = granted.DeepCopy()
	last, want, ok := wanted(d.Input, c)
	if !ok || want == has(d.Input, last) {
		return
	}
	if i := slices.IndexFunc(before, func(s corev1.ContainerStatus) bool { return s.Name == c.Name }); i >= 0 && before[i].Resources != nil {
		out.Resources = before[i].Resources
	}
}
