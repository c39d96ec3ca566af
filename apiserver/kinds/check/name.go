package check

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// QualifiedWithDomain checks a name of the form domain/name in which the domain may not be absent.
func QualifiedWithDomain(name string) []string {
	msgs := validation.IsQualifiedName(name)
	if len(msgs) == 0 && !strings.Contains(name, "/") {
		msgs = append(msgs, "should be a domain-prefixed path (such as \"acme.io/foo\")")
	}
	return msgs
}

// dnsLabel, dnsSubdomain and qualifiedName turn the library's messages into faults of one field.
func DNSLabel(name string, path *field.Path) field.ErrorList {
	return Invalid(path, name, validation.IsDNS1123Label(name))
}

func DNSSubdomain(name string, path *field.Path) field.ErrorList {
	return Invalid(path, name, validation.IsDNS1123Subdomain(name))
}

func QualifiedName(name string, path *field.Path) field.ErrorList {
	return Invalid(path, name, validation.IsQualifiedName(name))
}
