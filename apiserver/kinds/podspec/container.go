package podspec

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
)

// RestartableInit is true for a sidecar: an init container that keeps running beside the ordinary ones.
func RestartableInit(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// volumeKinds says of each volume by name what it is, as mounts and devices must fit it.
type volumeKinds map[string]*corev1.VolumeSource

// validateAllContainers checks the three lists of containers, whose names share one space.
func validateAllContainers(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	volumes := volumeKinds{}
	for i := range spec.Volumes {
		volumes[spec.Volumes[i].Name] = &spec.Volumes[i].VolumeSource
	}
	var errs field.ErrorList
	names := sets.New[string]()
	take := func(name string, at *field.Path) {
		if name != "" && names.Has(name) {
			errs = append(errs, field.Duplicate(at.Child("name"), name))
		}
		names.Insert(name)
	}
	containers := at.Child("containers")
	if len(spec.Containers) == 0 {
		errs = append(errs, field.Required(containers, ""))
	}
	for i := range spec.Containers {
		c, at := &spec.Containers[i], containers.Index(i)
		take(c.Name, at)
		errs = append(errs, validateContainer(c, spec, volumes, at)...)
		errs = append(errs, validateRunning(c, spec, at)...)
		errs = append(errs, validateRestart(c, at)...)
	}
	errs = append(errs, validateHostPorts(spec.Containers, containers)...)
	for i := range spec.InitContainers {
		c, at := &spec.InitContainers[i], at.Child("initContainers").Index(i)
		take(c.Name, at)
		errs = append(errs, validateContainer(c, spec, volumes, at)...)
		errs = append(errs, validateInit(c, spec, at)...)
		errs = append(errs, validateRestart(c, at)...)
		errs = append(errs, validateHostPorts([]corev1.Container{*c}, at)...)
	}
	for i := range spec.EphemeralContainers {
		e, at := &spec.EphemeralContainers[i], at.Child("ephemeralContainers").Index(i)
		take(e.Name, at)
		errs = append(errs, validateEphemeral(e, spec, volumes, at)...)
	}
	return errs
}

// validateContainer checks what every container has, whichever list it is in.
func validateContainer(c *corev1.Container, spec *corev1.PodSpec, volumes volumeKinds, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		errs = append(errs, check.DNSLabel(c.Name, at.Child("name"))...)
	}
	errs = append(errs, ValidateImage(c.Image, at.Child("image"))...)
	errs = append(errs, check.OneOf(c.TerminationMessagePolicy, at.Child("terminationMessagePolicy"),
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, check.OneOf(c.ImagePullPolicy, at.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, validatePorts(c.Ports, spec.HostNetwork, at.Child("ports"))...)
	errs = append(errs, validateEnv(c.Env, at.Child("env"))...)
	errs = append(errs, validateEnvFrom(c.EnvFrom, at.Child("envFrom"))...)
	errs = append(errs, validateMounts(c, volumes, at.Child("volumeMounts"))...)
	errs = append(errs, validateDevices(c, volumes, at.Child("volumeDevices"))...)
	errs = append(errs, validateResources(&c.Resources, at.Child("resources"))...)
	errs = append(errs, validateResizePolicy(c.ResizePolicy, at.Child("resizePolicy"))...)
	return append(errs, validateSecurity(c.SecurityContext, spec, at.Child("securityContext"))...)
}

func ValidateImage(image string, at *field.Path) field.ErrorList {
	switch {
	case image == "":
		return field.ErrorList{field.Required(at, "")}
	case strings.TrimSpace(image) != image:
		return field.ErrorList{field.Invalid(at, image, "must not have leading or trailing whitespace")}
	}
	return nil
}

// validateRunning checks what containers that keep running have: probes and hooks.
func validateRunning(c *corev1.Container, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	grace := ptr.Deref(spec.TerminationGracePeriodSeconds, 0)
	errs := validateLifecycle(c.Lifecycle, grace, spec.OS, at.Child("lifecycle"))
	for _, p := range []struct {
		name  string
		probe *corev1.Probe
	}{
		{"livenessProbe", c.LivenessProbe}, {"startupProbe", c.StartupProbe}, {"readinessProbe", c.ReadinessProbe},
	} {
		if p.probe == nil {
			continue
		}
		path := at.Child(p.name)
		errs = append(errs, validateProbe(p.probe, path)...)
		switch {
		case p.name == "readinessProbe":
			if s := p.probe.TerminationGracePeriodSeconds; s != nil {
				errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *s, "must not be set for readinessProbes"))
			}
		case p.probe.SuccessThreshold != 1:
			errs = append(errs, field.Invalid(path.Child("successThreshold"), p.probe.SuccessThreshold, "must be 1"))
		}
	}
	return errs
}

// validateInit allows probes and hooks only on init containers that keep running.
func validateInit(c *corev1.Container, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	if RestartableInit(c) {
		return validateRunning(c, spec, at)
	}
	var errs field.ErrorList
	const why = "may not be set for init containers without restartPolicy=Always"
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil},
		{"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(at.Child(f.name), why))
		}
	}
	if len(c.ResizePolicy) > 0 {
		errs = append(errs, field.Invalid(at.Child("resizePolicy"), c.ResizePolicy, "must not be set for init containers"))
	}
	return errs
}

// The sizes that bound restart rules.
const (
	maxRestartRules = 20
	maxExitCodes    = 255
)

// validateRestart checks a container's own restart policy and the rules by exit code that refine it.
func validateRestart(c *corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.RestartPolicy != nil {
		errs = append(errs, check.OneOf(*c.RestartPolicy, at.Child("restartPolicy"), corev1.ContainerRestartPolicyAlways,
			corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever)...)
	}
	rules := at.Child("restartPolicyRules")
	if len(c.RestartPolicyRules) > 0 && c.RestartPolicy == nil {
		errs = append(errs, field.Required(at.Child("restartPolicy"), "must specify restartPolicy when restartPolicyRules are used"))
	}
	if len(c.RestartPolicyRules) > maxRestartRules {
		errs = append(errs, field.TooMany(rules, len(c.RestartPolicyRules), maxRestartRules))
	}
	for i, rule := range c.RestartPolicyRules {
		at := rules.Index(i)
		errs = append(errs, check.OneOf(rule.Action, at.Child("action"), corev1.ContainerRestartRuleActionRestart,
			corev1.ContainerRestartRuleActionRestartAllContainers)...)
		if rule.ExitCodes == nil {
			errs = append(errs, field.Required(at.Child("exitCodes"), "must be specified"))
			continue
		}
		errs = append(errs, check.OneOf(rule.ExitCodes.Operator, at.Child("exitCodes", "operator"),
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
		if n := len(rule.ExitCodes.Values); n > maxExitCodes {
			errs = append(errs, field.TooMany(at.Child("exitCodes", "values"), n, maxExitCodes))
		}
	}
	return errs
}

// validateEphemeral allows a container for debugging only what cannot disturb the pod.
func validateEphemeral(e *corev1.EphemeralContainer, spec *corev1.PodSpec, volumes volumeKinds, at *field.Path) field.ErrorList {
	c := corev1.Container(e.EphemeralContainerCommon)
	errs := validateContainer(&c, spec, volumes, at)
	if target := e.TargetContainerName; target != "" && !hasContainer(spec, target) {
		errs = append(errs, field.NotFound(at.Child("targetContainerName"), target))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"ports", len(c.Ports) > 0}, {"livenessProbe", c.LivenessProbe != nil}, {"readinessProbe", c.ReadinessProbe != nil},
		{"startupProbe", c.StartupProbe != nil}, {"lifecycle", c.Lifecycle != nil}, {"restartPolicy", c.RestartPolicy != nil},
		{"restartPolicyRules", len(c.RestartPolicyRules) > 0}, {"resizePolicy", len(c.ResizePolicy) > 0},
		{"resources", len(c.Resources.Limits)+len(c.Resources.Requests)+len(c.Resources.Claims) > 0},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(at.Child(f.name), "cannot be set for an Ephemeral Container"))
		}
	}
	for i, mount := range c.VolumeMounts {
		if mount.SubPath != "" {
			errs = append(errs, field.Forbidden(at.Child("volumeMounts").Index(i).Child("subPath"), "cannot be set for an Ephemeral Container"))
		}
		if mount.SubPathExpr != "" {
			errs = append(errs, field.Forbidden(at.Child("volumeMounts").Index(i).Child("subPathExpr"), "cannot be set for an Ephemeral Container"))
		}
	}
	return errs
}

func hasContainer(spec *corev1.PodSpec, name string) bool {
	for _, list := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for _, c := range list {
			if c.Name == name {
				return true
			}
		}
	}
	return false
}

func validatePorts(ports []corev1.ContainerPort, hostNetwork bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, port := range ports {
		at := at.Index(i)
		if port.Name != "" {
			if msgs := validation.IsValidPortName(port.Name); len(msgs) > 0 {
				errs = append(errs, check.Invalid(at.Child("name"), port.Name, msgs)...)
			} else if names.Has(port.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), port.Name))
			}
			names.Insert(port.Name)
		}
		if port.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, check.Invalid(at.Child("containerPort"), port.ContainerPort, validation.IsValidPortNum(int(port.ContainerPort)))...)
		}
		if port.HostPort != 0 {
			errs = append(errs, check.Invalid(at.Child("hostPort"), port.HostPort, validation.IsValidPortNum(int(port.HostPort)))...)
		}
		// A pod template leaves host ports to its pods, so only a host port that is given can contradict.
		if hostNetwork && port.HostPort != 0 && port.HostPort != port.ContainerPort {
			errs = append(errs, field.Invalid(at.Child("containerPort"), port.ContainerPort, "must match `hostPort` when `hostNetwork` is true"))
		}
		errs = append(errs, check.OneOf(port.Protocol, at.Child("protocol"), check.Protocols...)...)
	}
	return errs
}

// validateHostPorts refuses the same port of the host twice in one pod.
func validateHostPorts(containers []corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	taken := sets.New[string]()
	for i, c := range containers {
		for j, port := range c.Ports {
			if port.HostPort == 0 {
				continue
			}
			id := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
			if taken.Has(id) {
				errs = append(errs, field.Duplicate(at.Index(i).Child("ports").Index(j).Child("hostPort"), id))
			}
			taken.Insert(id)
		}
	}
	return errs
}

func validateMounts(c *corev1.Container, volumes volumeKinds, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	devices, points := sets.New[string](), sets.New[string]()
	for _, device := range c.VolumeDevices {
		devices.Insert(device.DevicePath)
	}
	for i := range c.VolumeMounts {
		mount, at := &c.VolumeMounts[i], at.Index(i)
		if mount.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		if volumes[mount.Name] == nil {
			errs = append(errs, field.NotFound(at.Child("name"), mount.Name))
		}
		if mount.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		}
		if points.Has(mount.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), mount.MountPath, "must be unique"))
		}
		points.Insert(mount.MountPath)
		if devices.Has(mount.MountPath) {
			errs = append(errs, field.Invalid(at.Child("mountPath"), mount.MountPath, "must not already exist as a path in volumeDevices"))
		}
		errs = append(errs, validateSubPath(mount, at)...)
		errs = append(errs, validatePropagation(mount, c, at)...)
	}
	return errs
}

func validateSubPath(mount *corev1.VolumeMount, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if mount.SubPath != "" {
		errs = append(errs, descending(mount.SubPath, at.Child("subPath"))...)
	}
	if mount.SubPathExpr != "" {
		if mount.SubPath != "" {
			errs = append(errs, field.Invalid(at.Child("subPathExpr"), mount.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
		}
		errs = append(errs, descending(mount.SubPathExpr, at.Child("subPathExpr"))...)
	}
	return errs
}

func validatePropagation(mount *corev1.VolumeMount, c *corev1.Container, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p := mount.MountPropagation; p != nil {
		errs = append(errs, check.OneOfOrNone(*p, at.Child("mountPropagation"), corev1.MountPropagationBidirectional,
			corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
		if *p == corev1.MountPropagationBidirectional && (c.SecurityContext == nil || !ptr.Deref(c.SecurityContext.Privileged, false)) {
			errs = append(errs, field.Forbidden(at.Child("mountPropagation"), "Bidirectional mount propagation is available only to privileged containers"))
		}
	}
	if r := mount.RecursiveReadOnly; r != nil {
		path := at.Child("recursiveReadOnly")
		errs = append(errs, check.OneOfOrNone(*r, path, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible)...)
		if *r != corev1.RecursiveReadOnlyDisabled {
			if !mount.ReadOnly {
				errs = append(errs, field.Forbidden(path, "may only be specified when readOnly is true"))
			}
			if p := mount.MountPropagation; p != nil && *p != corev1.MountPropagationNone {
				errs = append(errs, field.Forbidden(path, "may only be specified when mountPropagation is None or not specified"))
			}
		}
	}
	return errs
}

func validateDevices(c *corev1.Container, volumes volumeKinds, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	paths := sets.New[string]()
	for i, device := range c.VolumeDevices {
		at := at.Index(i)
		source := volumes[device.Name]
		switch {
		case device.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case source == nil:
			errs = append(errs, field.NotFound(at.Child("name"), device.Name))
		case source.PersistentVolumeClaim == nil && source.Ephemeral == nil:
			errs = append(errs, field.Invalid(at.Child("name"), device.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		if device.DevicePath == "" {
			errs = append(errs, field.Required(at.Child("devicePath"), ""))
		}
		if paths.Has(device.DevicePath) {
			errs = append(errs, field.Invalid(at.Child("devicePath"), device.DevicePath, "must be unique"))
		}
		if device.DevicePath != "" {
			errs = append(errs, noBacksteps(device.DevicePath, at.Child("devicePath"))...)
		}
		paths.Insert(device.DevicePath)
	}
	return errs
}

func validateResizePolicy(policies []corev1.ContainerResizePolicy, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[corev1.ResourceName]()
	for _, p := range policies {
		if seen.Has(p.ResourceName) {
			errs = append(errs, field.Duplicate(at, p.ResourceName))
		}
		seen.Insert(p.ResourceName)
		errs = append(errs, check.OneOf(p.ResourceName, at, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, check.OneOf(p.RestartPolicy, at, corev1.NotRequired, corev1.RestartContainer)...)
	}
	return errs
}

// descending accepts a path that stays below where it starts.
func descending(target string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if path.IsAbs(target) {
		errs = append(errs, field.Invalid(at, target, "must be a relative path"))
	}
	return append(errs, noBacksteps(target, at)...)
}

func noBacksteps(target string, at *field.Path) field.ErrorList {
	for _, part := range strings.Split(target, "/") {
		if part == ".." {
			return field.ErrorList{field.Invalid(at, target, "must not contain '..'")}
		}
	}
	return nil
}
