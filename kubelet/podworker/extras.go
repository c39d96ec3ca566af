package podworker

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/api/extras"
	"github.com/cuppa-project/cuppa/internal/errkind"
	"github.com/cuppa-project/cuppa/kubelet/criconfig"
	"github.com/cuppa-project/cuppa/kubelet/image"
)

// runSandbox makes a pod's sandbox. What it asks for beyond CRI goes to runtimes that take it; for others its containers are refused, which
// says so better than a sandbox that never comes.
func runSandbox(ctx context.Context, deps *Deps, pod *corev1.Pod, config *runtimeapi.PodSandboxConfig, handler string) error {
	wishes, err := extras.Of(pod.Annotations)
	if err != nil || wishes.Empty() || deps.Extender == nil {
		_, err = deps.Runtime.RunPodSandbox(ctx, config, handler)
		return err
	}
	_, err = deps.Extender.RunSandbox(ctx, config, handler, wishes)
	return err
}

// asked reads what a pod asks of the engine for one of its containers. Everything is read from the pod alone, and ephemeral containers ask for
// nothing: whoever may add one to a pod is not who wrote the pod.
func asked(deps *Deps, pod *corev1.Pod, container string) (extras.Container, error) {
	wishes, err := extras.Of(pod.Annotations)
	if err != nil {
		return extras.Container{}, errkind.New(errkind.Invalid, "%w; bring the pod up to date with `cuppa up`", err)
	}
	if deps.Extender == nil && !wishes.Empty() {
		return extras.Container{}, errkind.New(errkind.Invalid,
			"the pod asks the engine for what the container runtime of this node (%s) cannot take: %s; run it on a node with cuppa's own engine, or take these settings out of the Compose file",
			deps.Around.RuntimeName, wishes.Summary())
	}
	if slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == container }) {
		return extras.Container{}, nil
	}
	return wishes.Containers[container], nil
}

// make creates the container, by CRI alone if it asks for nothing else.
func (s *starter) make(ctx context.Context, sandbox string, config *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (string, error) {
	if len(s.asked.Asks()) == 0 {
		return s.w.deps.Runtime.CreateContainer(ctx, sandbox, config, pod)
	}
	return s.w.deps.Extender.MakeContainer(ctx, sandbox, config, s.asked)
}

// checkNonRoot refuses a container that must not be root but would be. A user asked for by name counts before everything else, as it does in
// the engine, and a name says nothing about its number.
func checkNonRoot(pod *corev1.Pod, c *corev1.Container, img image.Image, x extras.Container) error {
	if x.User == "" {
		return criconfig.CheckNonRoot(pod, c, img.UID, img.Username)
	}
	return criconfig.CheckNamedUser(pod, c, x.User)
}
