package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cuppa-project/cuppa/apiserver/kinds/check"
)

// What a field reference may name: in an environment variable, and in a file of a volume.
var (
	envFieldPaths = sets.New("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs")
	fileFieldPaths = sets.New("metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations")
	// podFieldPaths are all that a field reference can be understood to mean, allowed in its place or not.
	podFieldPaths = sets.New("spec.restartPolicy", "spec.schedulerName", "status.phase").Union(envFieldPaths).Union(fileFieldPaths)
	// keyedFieldPaths are those that take one key in brackets.
	keyedFieldPaths = sets.New("metadata.annotations", "metadata.labels")
)

// What a resource field reference may name.
var resourceFields = sets.New("limits.cpu", "limits.ephemeral-storage", "limits.memory",
	"requests.cpu", "requests.ephemeral-storage", "requests.memory")

func validateEnv(vars []corev1.EnvVar, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range vars {
		v, at := &vars[i], at.Index(i)
		if v.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, check.Invalid(at.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))...)
		}
		errs = append(errs, validateValueFrom(v, at.Child("valueFrom"))...)
	}
	return errs
}

func validateValueFrom(v *corev1.EnvVar, at *field.Path) field.ErrorList {
	from := v.ValueFrom
	if from == nil {
		return nil
	}
	var errs field.ErrorList
	sources := 0
	if ref := from.FieldRef; ref != nil {
		sources++
		errs = append(errs, validateFieldRef(ref, envFieldPaths, at.Child("fieldRef"))...)
	}
	if ref := from.ResourceFieldRef; ref != nil {
		sources++
		errs = append(errs, validateResourceFieldRef(ref, false, at.Child("resourceFieldRef"))...)
	}
	if ref := from.ConfigMapKeyRef; ref != nil {
		sources++
		errs = append(errs, validateKeyRef(ref.Name, ref.Key, at.Child("configMapKeyRef"))...)
	}
	if ref := from.SecretKeyRef; ref != nil {
		sources++
		errs = append(errs, validateKeyRef(ref.Name, ref.Key, at.Child("secretKeyRef"))...)
	}
	if ref := from.FileKeyRef; ref != nil {
		sources++
		errs = append(errs, validateFileKeyRef(ref, at.Child("fileKeyRef"))...)
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case v.Value != "":
		errs = append(errs, field.Invalid(at, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateKeyRef(name, key string, at *field.Path) field.ErrorList {
	errs := check.Invalid(at.Child("name"), name, apivalidation.NameIsDNSSubdomain(name, false))
	if key == "" {
		return append(errs, field.Required(at.Child("key"), ""))
	}
	return append(errs, check.Invalid(at.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateFileKeyRef(ref *corev1.FileKeySelector, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ref.VolumeName == "" {
		errs = append(errs, field.Required(at.Child("volumeName"), ""))
	} else {
		errs = append(errs, check.DNSLabel(ref.VolumeName, at.Child("volumeName"))...)
	}
	if ref.Key == "" {
		errs = append(errs, field.Required(at.Child("key"), ""))
	} else {
		errs = append(errs, check.Invalid(at.Child("key"), ref.Key, validation.IsRelaxedEnvVarName(ref.Key))...)
	}
	if ref.Path == "" {
		return append(errs, field.Required(at.Child("path"), ""))
	}
	return append(errs, nonReserved(ref.Path, at.Child("path"))...)
}

// validateFieldRef checks a reference to a field of the pod, with or without a key: metadata.labels['app'].
func validateFieldRef(ref *corev1.ObjectFieldSelector, allowed sets.Set[string], at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ref.APIVersion == "" {
		return append(errs, field.Required(at.Child("apiVersion"), ""))
	}
	if ref.FieldPath == "" {
		return append(errs, field.Required(at.Child("fieldPath"), ""))
	}
	path, key, keyed := splitKey(ref.FieldPath)
	if keyed {
		switch {
		case !keyedFieldPaths.Has(path):
			return append(errs, field.Invalid(at, ref.FieldPath, "does not support subscript"))
		case path == "metadata.annotations":
			return append(errs, check.Invalid(at, key, validation.IsQualifiedName(strings.ToLower(key)))...)
		}
		return append(errs, check.Invalid(at, key, validation.IsQualifiedName(key))...)
	}
	if ref.APIVersion != "v1" {
		return append(errs, field.Invalid(at.Child("fieldPath"), ref.FieldPath,
			fmt.Sprintf("error converting fieldPath: unsupported pod version: %s", ref.APIVersion)))
	}
	if !podFieldPaths.Has(path) {
		return append(errs, field.Invalid(at.Child("fieldPath"), ref.FieldPath,
			fmt.Sprintf("error converting fieldPath: field label not supported: %s", path)))
	}
	if !allowed.Has(path) {
		errs = append(errs, field.NotSupported(at.Child("fieldPath"), path, sets.List(allowed)))
	}
	return errs
}

// splitKey splits metadata.labels['app'] into its path and key.
func splitKey(fieldPath string) (path, key string, keyed bool) {
	inner, ok := strings.CutSuffix(fieldPath, "']")
	if !ok {
		return fieldPath, "", false
	}
	path, key, ok = strings.Cut(inner, "['")
	if !ok || path == "" {
		return fieldPath, "", false
	}
	return path, key, true
}

// validateResourceFieldRef checks a reference to a container's requests or limits. A volume must say which container.
func validateResourceFieldRef(ref *corev1.ResourceFieldSelector, volume bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case volume && ref.ContainerName == "":
		return append(errs, field.Required(at.Child("containerName"), ""))
	case ref.Resource == "":
		return append(errs, field.Required(at.Child("resource"), ""))
	case !resourceFields.Has(ref.Resource) && !strings.HasPrefix(ref.Resource, "requests.hugepages-") && !strings.HasPrefix(ref.Resource, "limits.hugepages-"):
		return append(errs, field.NotSupported(at.Child("resource"), ref.Resource, sets.List(resourceFields)))
	}
	return append(errs, validateDivisor(ref, at.Child("divisor"))...)
}

var (
	cpuDivisors    = []string{"1m", "1"}
	memoryDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
)

func validateDivisor(ref *corev1.ResourceFieldSelector, at *field.Path) field.ErrorList {
	if ref.Divisor.IsZero() {
		return nil
	}
	kind, divisors := strings.SplitN(ref.Resource, ".", 2)[1], memoryDivisors
	switch {
	case kind == "cpu":
		divisors = cpuDivisors
	case kind == "ephemeral-storage":
		kind = "local ephemeral storage"
	case strings.HasPrefix(kind, "hugepages-"):
		kind = "hugepages"
	}
	if slices.Contains(divisors, ref.Divisor.String()) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, ref.Resource,
		fmt.Sprintf("only divisor's values %s are supported with the %s resource", strings.Join(divisors, ", "), kind))}
}

func validateEnvFrom(sources []corev1.EnvFromSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, from := range sources {
		at := at.Index(i)
		if from.Prefix != "" {
			errs = append(errs, check.Invalid(at.Child("prefix"), from.Prefix, validation.IsRelaxedEnvVarName(from.Prefix))...)
		}
		count := 0
		if ref := from.ConfigMapRef; ref != nil {
			count++
			errs = append(errs, validateEnvSource(ref.Name, at.Child("configMapRef", "name"))...)
		}
		if ref := from.SecretRef; ref != nil {
			count++
			errs = append(errs, validateEnvSource(ref.Name, at.Child("secretRef", "name"))...)
		}
		switch {
		case count == 0:
			errs = append(errs, field.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
		case count > 1:
			errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

func validateEnvSource(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return check.Invalid(at, name, apivalidation.NameIsDNSSubdomain(name, true))
}
