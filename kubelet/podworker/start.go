package podworker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/kubelet/criconfig"
	"github.com/cuppa-project/cuppa/kubelet/environ"
	"github.com/cuppa-project/cuppa/kubelet/image"
	"github.com/cuppa-project/cuppa/kubelet/observe"
	"github.com/cuppa-project/cuppa/kubelet/volume"
)

// startContainer takes one container from its spec to running: image, environment, mounts, create, start, postStart hook. What fails
// is remembered under the reason that users know.
func startContainer(ctx context.Context, w *Worker, in Input, a Action) func(*Memory) {
	s := starter{w: w, in: in, action: a, spec: containerOf(in.Pod, a.Name)}
	if s.spec == nil {
		return nil // the spec changed meanwhile
	}
	if in.Memory.Room.Reason != "" {
		s.spec = s.spec.DeepCopy()
		s.spec.Resources = given(in, s.spec)
	}
	err := s.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		return func(m *Memory) { delete(m.Start, a.Name) }
	}
	now := time.Now()
	first, last := firstRetry, lastRetry
	if isImageReason(s.failed) {
		first, last = firstPull, lastPull
	}
	return func(m *Memory) { m.Start[a.Name] = m.Start[a.Name].Next(now, s.failed, err.Error(), first, last) }
}

func isImageReason(reason string) bool {
	switch reason {
	case ReasonErrImagePull, ReasonErrImageNeverPull, ReasonInvalidImageName, ReasonImageInspectError:
		return true
	}
	return false
}

// containerOf finds a container of any kind, or nil.
func containerOf(pod *corev1.Pod, name string) *corev1.Container {
	var found *corev1.Container
	each(pod, func(c *corev1.Container) {
		if c.Name == name {
			found = c
		}
	})
	return found
}

type starter struct {
	w      *Worker
	in     Input
	action Action
	spec   *corev1.Container
	failed string // the reason of the failure
	asked  extras.Container
}

func (s *starter) run(ctx context.Context) error {
	sandbox, ok := s.in.Observed.Ready()
	if !ok {
		return nil
	}
	config := criconfig.Sandbox(s.w.deps.Node, s.in.Pod, sandbox.Attempt)
	img, err := s.image(ctx, config)
	if err != nil {
		return err
	}
	container, err := s.configure(ctx, img)
	if err != nil {
		return s.fail(ReasonCreateConfigError, err, "Error: "+err.Error())
	}
	id, err := s.make(ctx, sandbox.ID, container, config)
	if err != nil {
		return s.fail(ReasonCreateContainerError, err, "Error: "+err.Error())
	}
	s.tell(corev1.EventTypeNormal, "Created", "Container created")
	if err := s.w.deps.Runtime.StartContainer(ctx, id); err != nil {
		return s.fail(ReasonRunContainerError, err, "Error: "+err.Error())
	}
	s.tell(corev1.EventTypeNormal, "Started", "Container started")
	return s.postStart(ctx, id)
}

func (s *starter) tell(kind, reason, message string) {
	s.w.containerEvent(s.in.Pod, s.spec.Name, kind, reason, message)
}

func (s *starter) fail(reason string, err error, message string) error {
	s.failed = reason
	s.tell(corev1.EventTypeWarning, "Failed", message)
	return err
}

func (s *starter) image(ctx context.Context, sandbox *runtimeapi.PodSandboxConfig) (image.Image, error) {
	if retry := s.in.Memory.Start[s.spec.Name]; retry.Failed() && isImageReason(retry.Reason) {
		s.tell(corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", s.spec.Image))
	}
	img, err := s.w.deps.Images.Ensure(ctx, s.in.Pod, s.spec.Image, s.spec.ImagePullPolicy, sandbox, func() {
		s.tell(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", s.spec.Image))
	})
	switch {
	case err != nil:
		if ctx.Err() == nil {
			s.failed = image.Reason(err)
			s.tell(corev1.EventTypeWarning, "Failed", err.Error())
			s.tell(corev1.EventTypeWarning, "Failed", "Error: "+s.failed)
		}
		return img, err
	case img.Pulled:
		s.tell(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %s. Image size: %d bytes.",
			s.spec.Image, img.Took.Truncate(time.Millisecond), img.Size))
	default:
		s.tell(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", s.spec.Image))
	}
	return img, nil
}

func (s *starter) configure(ctx context.Context, img image.Image) (*runtimeapi.ContainerConfig, error) {
	var err error
	if s.asked, err = asked(s.w.deps, s.in.Pod, s.spec.Name); err != nil {
		return nil, err
	}
	if err := checkNonRoot(s.in.Pod, s.spec, img, s.asked); err != nil {
		return nil, err
	}
	deps := s.w.deps
	vars, err := environ.Build(ctx, environ.Input{
		Pod: s.in.Pod, Container: s.spec, Facts: deps.facts(s.in.Pod, &s.in.Observed), Source: deps.Objects,
	})
	if err != nil {
		return nil, err
	}
	lookup := environ.Lookup(vars)
	hosts, err := deps.Volumes.WriteHosts(s.in.Pod, PodIPs(s.in.Pod, &s.in.Observed, deps.Around),
		criconfig.Hostname(deps.Node, s.in.Pod), criconfig.FQDN(deps.Node, s.in.Pod))
	if err != nil {
		return nil, err
	}
	images, err := s.imageVolumes(ctx)
	if err != nil {
		return nil, err
	}
	mounts, messagePath, err := deps.Volumes.Mounts(volume.MountInput{
		Pod: s.in.Pod, Container: s.spec, Attempt: s.action.Attempt, Lookup: lookup, EtcHosts: hosts, Images: images,
	})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(deps.Node.LogDir(s.w.key), s.spec.Name), 0o755); err != nil {
		return nil, err
	}
	return criconfig.Container(deps.Node, s.in.Pod, s.spec, criconfig.ContainerInput{
		Attempt: s.action.Attempt, Image: img.Ref, Envs: keyValues(vars), Mounts: mounts, MessagePath: messagePath,
		Command: environ.ExpandAll(s.spec.Command, lookup), Args: environ.ExpandAll(s.spec.Args, lookup),
		TargetID: s.target(),
	}), nil
}

// imageVolumes pulls the images that are mounted as volumes.
func (s *starter) imageVolumes(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for _, v := range s.in.Pod.Spec.Volumes {
		if v.Image == nil {
			continue
		}
		img, err := s.w.deps.Images.Ensure(ctx, s.in.Pod, v.Image.Reference, v.Image.PullPolicy, nil, func() {})
		if err != nil {
			return nil, fmt.Errorf("image volume %q: %w", v.Name, err)
		}
		out[v.Name] = img.Ref
	}
	return out, nil
}

// target is the container whose processes a debugging container wants to see.
func (s *starter) target() string {
	for i := range s.in.Pod.Spec.EphemeralContainers {
		e := &s.in.Pod.Spec.EphemeralContainers[i]
		if e.Name != s.spec.Name || e.TargetContainerName == "" {
			continue
		}
		if c := s.in.Observed.Newest(e.TargetContainerName); c != nil && c.State == observe.Running {
			return c.ID
		}
	}
	return ""
}

func keyValues(vars []environ.Var) []*runtimeapi.KeyValue {
	out := make([]*runtimeapi.KeyValue, 0, len(vars))
	for _, v := range vars {
		out = append(out, &runtimeapi.KeyValue{Key: v.Name, Value: []byte(v.Value)})
	}
	return out
}

// postStart runs the hook. A container whose hook fails is killed, and counts as one that failed to start.
func (s *starter) postStart(ctx context.Context, id string) error {
	if s.spec.Lifecycle == nil || s.spec.Lifecycle.PostStart == nil {
		return nil
	}
	err := s.w.hook(ctx, s.in, s.spec, id, s.spec.Lifecycle.PostStart)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	s.failed = ReasonPostStartHookError
	s.tell(corev1.EventTypeWarning, "FailedPostStartHook", fmt.Sprintf("PostStartHook failed: %v", err))
	s.tell(corev1.EventTypeNormal, "Killing", "FailedPostStartHook")
	grace := int64(0)
	if seconds := s.in.Pod.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace = *seconds
	}
	return errors.Join(fmt.Errorf("PostStartHook failed: %w", err), s.w.deps.Runtime.StopContainer(ctx, id, grace))
}
