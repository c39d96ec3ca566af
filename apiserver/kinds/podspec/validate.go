// Package podspec is all that is known of the specification of pods, wherever one is found: in a Pod or in the template of a workload.
// It fills in defaults (default.go), drops the fields of features that are off (gated.go), validates (validate.go, then one file per part)
// and warns (warnings.go). What is only true of a Pod, such as its status and which fields may change, is in kinds/core.
package podspec

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
	"github.com/cuppa-project/cuppa/apiserver/kinds/meta"
)

// ValidateTemplate checks the pods of a workload. What was stored before is not held against an update that leaves it.
func ValidateTemplate(template, old *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	if old != nil && meta.Same(template, old) {
		return nil
	}
	errs := metav1validation.ValidateLabels(template.Labels, path.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(template.Annotations, path.Child("annotations"))...)
	errs = append(errs, Validate(&template.Spec, path.Child("spec"))...)
	if len(template.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

func Validate(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := validateVolumes(spec.Volumes, path.Child("volumes"))
	errs = append(errs, validateAllContainers(spec, path)...)
	errs = append(errs, check.OneOf(spec.RestartPolicy, path.Child("restartPolicy"),
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, validateSpecNames(spec, path)...)
	errs = append(errs, metav1validation.ValidateLabels(spec.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, validatePodSecurity(spec, path)...)
	errs = append(errs, validateAffinity(spec.Affinity, path.Child("affinity"))...)
	errs = append(errs, ValidateTolerations(spec.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateSpread(spec.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
	errs = append(errs, validateGates(spec, path)...)
	errs = append(errs, validateDNS(spec, path)...)
	errs = append(errs, validateHostAliases(spec.HostAliases, path.Child("hostAliases"))...)
	errs = append(errs, validatePodResources(spec, path)...)
	errs = append(errs, validateClaims(spec, path)...)
	if s := spec.ActiveDeadlineSeconds; s != nil && (*s < 1 || *s > math.MaxInt32) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *s, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	if s := spec.TerminationGracePeriodSeconds; s == nil {
		errs = append(errs, field.Required(path.Child("terminationGracePeriodSeconds"), ""))
	}
	if p := spec.PreemptionPolicy; p != nil {
		errs = append(errs, check.OneOf(*p, path.Child("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	return errs
}

// validateSpecNames checks the fields of a pod that name something.
func validateSpecNames(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct{ name, value string }{
		{"serviceAccountName", spec.ServiceAccountName}, {"nodeName", spec.NodeName},
		{"priorityClassName", spec.PriorityClassName}, {"runtimeClassName", ptr.Deref(spec.RuntimeClassName, "")},
	} {
		if f.value != "" {
			errs = append(errs, check.Invalid(path.Child(f.name), f.value, apivalidation.NameIsDNSSubdomain(f.value, false))...)
		}
	}
	for _, f := range []struct{ name, value string }{{"hostname", spec.Hostname}, {"subdomain", spec.Subdomain}} {
		if f.value != "" {
			errs = append(errs, check.DNSLabel(f.value, path.Child(f.name))...)
		}
	}
	if name := spec.HostnameOverride; name != nil {
		errs = append(errs, validateHostnameOverride(spec, *name, path)...)
	}
	if os := spec.OS; os != nil {
		errs = append(errs, check.OneOf(os.Name, path.Child("os", "name"), corev1.Linux, corev1.Windows)...)
	}
	return errs
}

func validateHostnameOverride(spec *corev1.PodSpec, name string, path *field.Path) field.ErrorList {
	at := path.Child("hostnameOverride")
	errs := check.DNSSubdomain(name, at)
	if len(name) > validation.DNS1123LabelMaxLength+1 {
		errs = append(errs, field.TooLong(at, name, validation.DNS1123LabelMaxLength+1))
	}
	if spec.HostNetwork {
		errs = append(errs, field.Forbidden(at, "may not be specified when hostNetwork is true"))
	}
	if ptr.Deref(spec.SetHostnameAsFQDN, false) {
		errs = append(errs, field.Forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
	}
	return errs
}

// validateGates checks the conditions a pod waits for: scheduling gates before it gets a node, readiness gates before it
// gets traffic.
func validateGates(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, gate := range spec.SchedulingGates {
		at := path.Child("schedulingGates").Index(i)
		errs = append(errs, check.QualifiedName(gate.Name, at)...)
		if seen.Has(gate.Name) {
			errs = append(errs, field.Duplicate(at, gate.Name))
		}
		seen.Insert(gate.Name)
	}
	for i, gate := range spec.ReadinessGates {
		errs = append(errs, check.QualifiedName(string(gate.ConditionType), path.Child("readinessGates").Index(i).Child("conditionType"))...)
	}
	return errs
}

// The sizes that resolv.conf allows.
const (
	maxNameservers  = 3
	maxSearches     = 32
	maxSearchLength = 2048
)

func validateDNS(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := check.OneOf(spec.DNSPolicy, path.Child("dnsPolicy"),
		corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet, corev1.DNSDefault, corev1.DNSNone)
	config, path := spec.DNSConfig, path.Child("dnsConfig")
	if spec.DNSPolicy == corev1.DNSNone && (config == nil || len(config.Nameservers) == 0) {
		at := path
		if config != nil {
			at = path.Child("nameservers")
		}
		errs = append(errs, field.Required(at, "must provide at least one DNS nameserver when `dnsPolicy` is None"))
	}
	if config == nil {
		return errs
	}
	servers := path.Child("nameservers")
	if len(config.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(servers, config.Nameservers, "must not have more than 3 nameservers"))
	}
	for i, server := range config.Nameservers {
		errs = append(errs, validation.IsValidIPForLegacyField(servers.Index(i), server, false, nil)...)
	}
	searches, length := path.Child("searches"), len(config.Searches)-1
	if len(config.Searches) > maxSearches {
		errs = append(errs, field.Invalid(searches, config.Searches, "must not have more than 32 search paths"))
	}
	for i, search := range config.Searches {
		length += len(search)
		errs = append(errs, check.Invalid(searches.Index(i), search, searchPath(search))...)
	}
	if length > maxSearchLength {
		errs = append(errs, field.Invalid(searches, config.Searches, "must not have more than 2048 characters (including spaces) in the search list"))
	}
	for i, option := range config.Options {
		if option.Name == "" {
			errs = append(errs, field.Required(path.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

// searchPath checks one search domain: a name, possibly with underscores and a final dot, or the root alone.
func searchPath(search string) []string {
	if search == "." {
		return nil
	}
	if n := len(search); n > 0 && search[n-1] == '.' {
		search = search[:n-1]
	}
	return validation.IsDNS1123SubdomainWithUnderscore(search)
}

func validateHostAliases(aliases []corev1.HostAlias, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, alias := range aliases {
		errs = append(errs, validation.IsValidIPForLegacyField(path.Index(i).Child("ip"), alias.IP, false, nil)...)
		for j, name := range alias.Hostnames {
			errs = append(errs, check.DNSSubdomain(name, path.Index(i).Child("hostnames").Index(j))...)
		}
	}
	return errs
}
