package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// HostnameWarnings tell of a name that is legal but no good host name.
func HostnameWarnings(name, use string) []string {
	msgs := validation.IsDNS1123Label(name)
	if len(msgs) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in %s, which can result in surprising behavior; a DNS label is recommended: %v", use, msgs)}
}

func Warnings(spec *corev1.PodSpec, at *field.Path) []string {
	var warnings []string
	warn := func(at *field.Path, format string, args ...any) {
		warnings = append(warnings, at.String()+": "+fmt.Sprintf(format, args...))
	}
	for i, c := range spec.Containers {
		at := at.Child("containers").Index(i)
		names := sets.New[string]()
		for j, v := range c.Env {
			if names.Has(v.Name) {
				warn(at.Child("env").Index(j), "hides previous definition of %q, which may be dropped when using apply", v.Name)
			}
			names.Insert(v.Name)
		}
		for _, list := range []struct {
			name string
			list corev1.ResourceList
		}{{"limits", c.Resources.Limits}, {"requests", c.Resources.Requests}} {
			for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
				if value, ok := list.list[name]; ok && value.MilliValue()%1000 != 0 {
					warn(at.Child("resources", list.name).Key(string(name)), "fractional byte value %q is invalid, must be an integer", value.String())
				}
			}
		}
		warnings = append(warnings, portWarnings(c.Ports, at.Child("ports"))...)
	}
	if s := spec.TerminationGracePeriodSeconds; s != nil && *s < 0 {
		warn(at.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	names := sets.New[string]()
	for i, ref := range spec.ImagePullSecrets {
		if ref.Name == "" {
			warn(at.Child("imagePullSecrets").Index(i), "invalid empty name %q", ref.Name)
		}
	}
	for i, v := range spec.Volumes {
		if v.GitRepo != nil {
			warn(at.Child("volumes").Index(i).Child("gitRepo"), "deprecated in v1.11, and disabled by default in v1.33+")
		}
	}
	for i, alias := range spec.HostAliases {
		if names.Has(alias.IP) {
			warn(at.Child("hostAliases").Index(i).Child("ip"), "duplicate ip %q", alias.IP)
		}
		names.Insert(alias.IP)
	}
	return warnings
}

func portWarnings(ports []corev1.ContainerPort, at *field.Path) []string {
	var warnings []string
	type id struct {
		port     int32
		protocol corev1.Protocol
		host     int32
		ip       string
	}
	seen := map[id]int{}
	for i, port := range ports {
		key := id{port.ContainerPort, port.Protocol, port.HostPort, port.HostIP}
		if first, twice := seen[key]; twice {
			warnings = append(warnings, fmt.Sprintf("%s: duplicate port definition with %s", at.Index(i), at.Index(first)))
			continue
		}
		seen[key] = i
	}
	return warnings
}
