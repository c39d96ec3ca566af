package core

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
	"github.com/cuppa-project/cuppa/apiserver/kinds/podspec"
)

// updatable are the fields of a pod that may change after it was made, in the words of the refusal of all others.
var updatable = []string{
	"`spec.containers[*].image`",
	"`spec.initContainers[*].image`",
	"`spec.activeDeadlineSeconds`",
	"`spec.tolerations` (only additions to existing tolerations)",
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
}

// validatePodUpdate takes what may change out of the comparison, each with its own rule, and refuses the rest.
func validatePodUpdate(pod, old *corev1.Pod) field.ErrorList {
	spec := field.NewPath("spec")
	errs := meta.ValidateUpdate(pod, old)
	if stop, faults := sameContainers(pod, old, spec); stop {
		return append(errs, faults...)
	}
	for i := range pod.Spec.Containers {
		errs = append(errs, podspec.ValidateImage(pod.Spec.Containers[i].Image, spec.Child("containers").Index(i).Child("image"))...)
	}
	for i := range pod.Spec.InitContainers {
		errs = append(errs, podspec.ValidateImage(pod.Spec.InitContainers[i].Image, spec.Child("initContainers").Index(i).Child("image"))...)
	}
	errs = append(errs, validateDeadlineUpdate(pod.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, spec.Child("activeDeadlineSeconds"))...)
	errs = append(errs, addedTolerations(pod.Spec.Tolerations, old.Spec.Tolerations, spec.Child("tolerations"))...)
	gates := removedGates(pod.Spec.SchedulingGates, old.Spec.SchedulingGates, spec.Child("schedulingGates"))
	errs = append(errs, gates...)

	rest := restOfSpec(&pod.Spec, &old.Spec)
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, validateGatedUpdate(&pod.Spec, &old.Spec, rest, spec)...)
	}
	if !meta.Same(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(spec, fmt.Sprintf("pod updates may not change fields other than %s\n%v",
			strings.Join(updatable, ","), diff.Diff(old.Spec, *rest))))
	}
	return errs
}

func sameContainers(pod, old *corev1.Pod, spec *field.Path) (bool, field.ErrorList) {
	var errs field.ErrorList
	if len(pod.Spec.Containers) != len(old.Spec.Containers) {
		errs = append(errs, field.Forbidden(spec.Child("containers"), "pod updates may not add or remove containers"))
	}
	if len(pod.Spec.InitContainers) != len(old.Spec.InitContainers) {
		errs = append(errs, field.Forbidden(spec.Child("initContainers"), "pod updates may not add or remove containers"))
	}
	return len(errs) > 0, errs
}

// restOfSpec is the new specification with everything that has a rule of its own set back to what it was.
func restOfSpec(spec, old *corev1.PodSpec) *corev1.PodSpec {
	rest := spec.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	rest.Tolerations = old.Tolerations
	rest.SchedulingGates = old.SchedulingGates
	// A negative grace period of old means 1, and may be written as such.
	if was := old.TerminationGracePeriodSeconds; was != nil && *was < 0 && ptr.Deref(spec.TerminationGracePeriodSeconds, 0) == 1 {
		rest.TerminationGracePeriodSeconds = was
	}
	// The old name of the service account follows the new one and is not compared.
	rest.DeprecatedServiceAccount = old.DeprecatedServiceAccount
	return rest
}

func validateDeadlineUpdate(now, before *int64, at *field.Path) field.ErrorList {
	switch {
	case now != nil && (*now < 0 || *now > math.MaxInt32):
		return field.ErrorList{field.Invalid(at, *now, validation.InclusiveRangeError(0, math.MaxInt32))}
	case now != nil && before != nil && *before < *now:
		return field.ErrorList{field.Invalid(at, *now, "must be less than or equal to previous value")}
	case now == nil && before != nil:
		return field.ErrorList{field.Invalid(at, now, "must not update from a positive integer to nil value")}
	}
	return nil
}

// addedTolerations accepts further tolerations, and other seconds on the ones that were there.
func addedTolerations(now, before []corev1.Toleration, at *field.Path) field.ErrorList {
	for _, b := range before {
		b.TolerationSeconds = nil
		kept := slices.ContainsFunc(now, func(n corev1.Toleration) bool {
			n.TolerationSeconds = nil
			return n == b
		})
		if !kept {
			return field.ErrorList{field.Forbidden(at, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return podspec.ValidateTolerations(now, at)
}

func removedGates(now, before []corev1.PodSchedulingGate, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, gate := range now {
		if !slices.Contains(before, gate) {
			errs = append(errs, field.Forbidden(at.Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", gate.Name)))
		}
	}
	return errs
}

// validateGatedUpdate lets a pod that nobody has scheduled yet become harder to place: more node labels, narrower affinity.
func validateGatedUpdate(spec, old, rest *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !meta.Same(spec.NodeSelector, old.NodeSelector) {
		for key, value := range old.NodeSelector {
			if now, kept := spec.NodeSelector[key]; !kept || now != value {
				errs = append(errs, field.Invalid(at.Child("nodeSelector"), spec.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
				break
			}
		}
		rest.NodeSelector = old.NodeSelector
	}
	now, before := nodeAffinityOf(spec), nodeAffinityOf(old)
	if meta.Same(now, before) {
		return errs
	}
	errs = append(errs, validateNarrower(now, before, at.Child("affinity", "nodeAffinity"))...)
	switch {
	case rest.Affinity == nil && before != nil:
		rest.Affinity = &corev1.Affinity{NodeAffinity: before}
	case rest.Affinity == nil:
	case before == nil && old.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil:
		rest.Affinity = nil
	default:
		rest.Affinity.NodeAffinity = before
	}
	return errs
}

func nodeAffinityOf(spec *corev1.PodSpec) *corev1.NodeAffinity {
	if spec.Affinity == nil {
		return nil
	}
	return spec.Affinity.NodeAffinity
}

// validateNarrower: terms of required affinity are alternatives, so each must stay and may only demand more.
func validateNarrower(now, before *corev1.NodeAffinity, at *field.Path) field.ErrorList {
	if before == nil || before.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	at = at.Child("requiredDuringSchedulingIgnoredDuringExecution")
	if now == nil || now.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return field.ErrorList{field.Invalid(at, nil, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	was, is := before.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms, now.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(was) != len(is) && len(was) > 0 {
		return field.ErrorList{field.Invalid(at.Child("nodeSelectorTerms"), is, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	var errs field.ErrorList
	for i := range was {
		a, b := is[i], was[i]
		if len(b.MatchExpressions)+len(b.MatchFields) == 0 && !meta.Same(a, b) {
			errs = append(errs, field.Invalid(at.Child("nodeSelectorTerms").Index(i), a, "only additions are allowed (no mutations or deletions)"))
			continue
		}
		if len(a.MatchExpressions) < len(b.MatchExpressions) || !meta.Same(a.MatchExpressions[:len(b.MatchExpressions)], b.MatchExpressions) ||
			len(a.MatchFields) < len(b.MatchFields) || !meta.Same(a.MatchFields[:len(b.MatchFields)], b.MatchFields) {
			errs = append(errs, field.Invalid(at.Child("nodeSelectorTerms").Index(i), a, "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

// validatePodEphemeral lets debugging containers be added; those that exist stay as they are.
func validatePodEphemeral(pod, old *corev1.Pod) field.ErrorList {
	at := field.NewPath("spec", "ephemeralContainers")
	errs := meta.ValidateUpdate(pod, old)
	now := map[string]corev1.EphemeralContainer{}
	for _, e := range pod.Spec.EphemeralContainers {
		now[e.Name] = e
	}
	for i, e := range old.Spec.EphemeralContainers {
		if kept, ok := now[e.Name]; !ok {
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", e.Name)))
		} else if !meta.Same(kept, e) {
			errs = append(errs, field.Forbidden(at.Index(i), fmt.Sprintf("existing ephemeral containers %q may not be changed\n", e.Name)))
		}
	}
	return append(errs, podspec.Validate(&pod.Spec, field.NewPath("spec"))...)
}

// validatePodStatus checks the report of a node: addresses that are addresses, and no container that comes back from the dead
// although nothing restarts it.
func validatePodStatus(pod, old *corev1.Pod) field.ErrorList {
	at := field.NewPath("status")
	errs := meta.ValidateUpdate(pod, old)
	if name := pod.Status.NominatedNodeName; name != "" {
		errs = append(errs, check.Invalid(at.Child("nominatedNodeName"), name, apivalidation.NameIsDNSSubdomain(name, false))...)
	}
	ips := sets.New[string]()
	for i, ip := range pod.Status.PodIPs {
		errs = append(errs, validation.IsValidIPForLegacyField(at.Child("podIPs").Index(i), ip.IP, false, nil)...)
		if ips.Has(ip.IP) {
			errs = append(errs, field.Duplicate(at.Child("podIPs").Index(i), ip))
		}
		ips.Insert(ip.IP)
	}
	for i, ip := range pod.Status.HostIPs {
		errs = append(errs, validation.IsValidIPForLegacyField(at.Child("hostIPs").Index(i).Child("ip"), ip.IP, false, nil)...)
	}
	errs = append(errs, stayTerminated(pod.Status.ContainerStatuses, old.Status.ContainerStatuses, &old.Spec, old.Spec.Containers, at.Child("containerStatuses"))...)
	return append(errs, stayTerminated(pod.Status.InitContainerStatuses, old.Status.InitContainerStatuses, &old.Spec, old.Spec.InitContainers, at.Child("initContainerStatuses"))...)
}

func stayTerminated(now, before []corev1.ContainerStatus, spec *corev1.PodSpec, containers []corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, b := range before {
		if b.State.Terminated == nil || comesBack(b.Name, b.State.Terminated.ExitCode, spec, containers) {
			continue
		}
		for i, n := range now {
			if n.Name == b.Name && n.State.Terminated == nil {
				errs = append(errs, field.Forbidden(at.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
			}
		}
	}
	return errs
}

// comesBack is true if some policy may restart the container after this exit code, or if nothing is known of it.
func comesBack(name string, code int32, spec *corev1.PodSpec, containers []corev1.Container) bool {
	policy := corev1.ContainerRestartPolicy(spec.RestartPolicy)
	i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == name })
	if i < 0 {
		return true
	}
	if len(containers[i].RestartPolicyRules) > 0 || anyRestartsAll(spec) {
		return true
	}
	if own := containers[i].RestartPolicy; own != nil {
		policy = *own
	}
	return policy == corev1.ContainerRestartPolicyAlways || policy == corev1.ContainerRestartPolicyOnFailure && code != 0
}

// anyRestartsAll is true if the end of one container can restart all of them.
func anyRestartsAll(spec *corev1.PodSpec) bool {
	for _, list := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for _, c := range list {
			for _, rule := range c.RestartPolicyRules {
				if rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	return false
}
