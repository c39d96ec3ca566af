package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// protocols are those a port may have, in the order that messages list them.
var protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

func knownProtocol(p corev1.Protocol) bool { return slices.Contains(protocols, p) }

// qualifiedWithDomain checks a name of the form domain/name in which the domain may not be absent.
func qualifiedWithDomain(name string) []string {
	msgs := validation.IsQualifiedName(name)
	if len(msgs) == 0 && !strings.Contains(name, "/") {
		msgs = append(msgs, "should be a domain-prefixed path (such as \"acme.io/foo\")")
	}
	return msgs
}

// dnsLabel, dnsSubdomain and qualifiedName turn the library's messages into faults of one field.
func dnsLabel(name string, path *field.Path) field.ErrorList {
	return invalid(path, name, validation.IsDNS1123Label(name))
}

func dnsSubdomain(name string, path *field.Path) field.ErrorList {
	return invalid(path, name, validation.IsDNS1123Subdomain(name))
}

func qualifiedName(name string, path *field.Path) field.ErrorList {
	return invalid(path, name, validation.IsQualifiedName(name))
}

// invalid makes one fault of each message.
func invalid(path *field.Path, value any, msgs []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range msgs {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

// oneOf reports a value that is absent or not among those supported; the message lists them sorted.
func oneOf[T ~string](value T, path *field.Path, supported ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return supportedOrNothing(value, path, supported...)
}

// supportedOrNothing is oneOf for a field that may be absent.
func supportedOrNothing[T ~string](value T, path *field.Path, supported ...T) field.ErrorList {
	if value == "" || slices.Contains(supported, value) {
		return nil
	}
	sorted := slices.Sorted(slices.Values(supported))
	return field.ErrorList{field.NotSupported(path, value, sorted)}
}

// withMetaFields adds the two fields that every kind's selectors know.
func withMetaFields(obj Object, set fields.Set) fields.Set {
	set["metadata.name"] = obj.GetName()
	if ns := obj.GetNamespace(); ns != "" {
		set["metadata.namespace"] = ns
	}
	return set
}
