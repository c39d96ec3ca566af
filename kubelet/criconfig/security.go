package criconfig

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/internal/errkind"
)

// maskedPaths and readonlyPaths are the parts of /proc and /sys that containers do not see, or cannot write, unless procMount says so:
// they tell about or change the whole machine.
func maskedPaths() []string {
	return []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

func namespaces(pod *corev1.Pod) *runtimeapi.NamespaceOption {
	options := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	if pod.Spec.HostNetwork {
		options.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		options.Ipc = runtimeapi.NamespaceMode_NODE
	}
	switch {
	case pod.Spec.HostPID:
		options.Pid = runtimeapi.NamespaceMode_NODE
	case pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace:
		options.Pid = runtimeapi.NamespaceMode_POD
	}
	return options
}

func security(pod *corev1.Pod, c *corev1.Container, in ContainerInput) *runtimeapi.LinuxContainerSecurityContext {
	merged := Effective(pod, c)
	privileged := is(merged.Privileged)
	out := &runtimeapi.LinuxContainerSecurityContext{
		Privileged:         privileged,
		NamespaceOptions:   namespaces(pod),
		RunAsUser:          int64Value(merged.RunAsUser),
		RunAsGroup:         int64Value(merged.RunAsGroup),
		ReadonlyRootfs:     is(merged.ReadOnlyRootFilesystem),
		SupplementalGroups: groups(pod),
		NoNewPrivs:         merged.AllowPrivilegeEscalation != nil && !*merged.AllowPrivilegeEscalation,
		SelinuxOptions:     selinux(merged.SELinuxOptions),
		Seccomp:            seccomp(c, pod, privileged),
		Capabilities:       capabilities(merged.Capabilities),
		Apparmor:           apparmor(c, pod),
	}
	if in.TargetID != "" {
		out.NamespaceOptions.Pid, out.NamespaceOptions.TargetId = runtimeapi.NamespaceMode_TARGET, in.TargetID
	}
	if context := pod.Spec.SecurityContext; context != nil && context.SupplementalGroupsPolicy != nil &&
		*context.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict {
		out.SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy_Strict
	}
	if !privileged && (merged.ProcMount == nil || *merged.ProcMount == corev1.DefaultProcMount) {
		out.MaskedPaths, out.ReadonlyPaths = maskedPaths(), readonlyPaths()
	}
	return out
}

// Effective is a container's security context with what the pod's says filled in.
func Effective(pod *corev1.Pod, c *corev1.Container) corev1.SecurityContext {
	var out corev1.SecurityContext
	if c.SecurityContext != nil {
		out = *c.SecurityContext
	}
	context := pod.Spec.SecurityContext
	if context == nil {
		return out
	}
	if out.RunAsUser == nil {
		out.RunAsUser = context.RunAsUser
	}
	if out.RunAsGroup == nil {
		out.RunAsGroup = context.RunAsGroup
	}
	if out.RunAsNonRoot == nil {
		out.RunAsNonRoot = context.RunAsNonRoot
	}
	if out.SELinuxOptions == nil {
		out.SELinuxOptions = context.SELinuxOptions
	}
	return out
}

// CheckNonRoot refuses a container that must not be root but would be, given the image's user: a number, a name, or neither.
func CheckNonRoot(pod *corev1.Pod, c *corev1.Container, imageUID *int64, imageUser string) error {
	merged := Effective(pod, c)
	if !is(merged.RunAsNonRoot) {
		return nil
	}
	switch {
	case merged.RunAsUser != nil && *merged.RunAsUser != 0:
		return nil
	case merged.RunAsUser != nil:
		return errkind.New(errkind.Invalid, "container's runAsUser breaks non-root policy (pod: %q, container: %s)", pod.Namespace+"/"+pod.Name, c.Name)
	case imageUID != nil && *imageUID != 0:
		return nil
	case imageUID == nil && imageUser != "" && imageUser != "root":
		return errkind.New(errkind.Invalid, "container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root (pod: %q, container: %s)", imageUser, pod.Namespace+"/"+pod.Name, c.Name)
	default:
		return errkind.New(errkind.Invalid, "container has runAsNonRoot and image will run as root (pod: %q, container: %s)", pod.Namespace+"/"+pod.Name, c.Name)
	}
}

// CheckNamedUser is CheckNonRoot for a container whose user is asked of the engine, by number or name, in the place of the spec's and the image's.
func CheckNamedUser(pod *corev1.Pod, c *corev1.Container, user string) error {
	name, _, _ := strings.Cut(user, ":")
	uid, err := strconv.ParseUint(name, 10, 32)
	if !is(Effective(pod, c).RunAsNonRoot) || err == nil && uid != 0 {
		return nil
	}
	return errkind.New(errkind.Invalid, "container has runAsNonRoot, and the user it asks the engine for (%s) is root or known by its name only, cannot verify user is non-root (pod: %q, container: %s)",
		user, pod.Namespace+"/"+pod.Name, c.Name)
}

// groups are the extra groups of every process: those the spec names, and the one that owns the pod's volumes.
func groups(pod *corev1.Pod) []int64 {
	context := pod.Spec.SecurityContext
	if context == nil {
		return nil
	}
	out := slices.Clone(context.SupplementalGroups)
	if context.FSGroup != nil && !slices.Contains(out, *context.FSGroup) {
		out = append(out, *context.FSGroup)
	}
	return out
}

// seccomp chooses the profile: the container's, else the pod's, else the runtime's default one. Only privileged
// containers run without a filter when nobody says anything.
func seccomp(c *corev1.Container, pod *corev1.Pod, privileged bool) *runtimeapi.SecurityProfile {
	var profile *corev1.SeccompProfile
	if c != nil && c.SecurityContext != nil {
		profile = c.SecurityContext.SeccompProfile
	}
	if profile == nil && pod.Spec.SecurityContext != nil {
		profile = pod.Spec.SecurityContext.SeccompProfile
	}
	switch {
	case privileged:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	case profile == nil || profile.Type == corev1.SeccompProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	case profile.Type == corev1.SeccompProfileTypeLocalhost && profile.LocalhostProfile != nil:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: *profile.LocalhostProfile}
	default:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	}
}

// apparmor is the profile that the spec names; without a name the runtime decides.
func apparmor(c *corev1.Container, pod *corev1.Pod) *runtimeapi.SecurityProfile {
	var profile *corev1.AppArmorProfile
	if c.SecurityContext != nil {
		profile = c.SecurityContext.AppArmorProfile
	}
	if profile == nil && pod.Spec.SecurityContext != nil {
		profile = pod.Spec.SecurityContext.AppArmorProfile
	}
	switch {
	case profile == nil:
		return nil
	case profile.Type == corev1.AppArmorProfileTypeRuntimeDefault:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	case profile.Type == corev1.AppArmorProfileTypeLocalhost && profile.LocalhostProfile != nil:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: *profile.LocalhostProfile}
	default:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	}
}

func capabilities(c *corev1.Capabilities) *runtimeapi.Capability {
	if c == nil {
		return nil
	}
	out := &runtimeapi.Capability{}
	for _, name := range c.Add {
		out.AddCapabilities = append(out.AddCapabilities, string(name))
	}
	for _, name := range c.Drop {
		out.DropCapabilities = append(out.DropCapabilities, string(name))
	}
	return out
}

func selinux(o *corev1.SELinuxOptions) *runtimeapi.SELinuxOption {
	if o == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

func int64Value(v *int64) *runtimeapi.Int64Value {
	if v == nil {
		return nil
	}
	return &runtimeapi.Int64Value{Value: *v}
}

func is(b *bool) bool { return b != nil && *b }
