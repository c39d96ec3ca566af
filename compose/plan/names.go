package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/distribution/reference"

	"github.com/cuppa-project/cuppa/api"
	"github.com/cuppa-project/cuppa/compose/model"
)

// NamespaceName is the namespace of a project. Underscores, which Compose allows, become hyphens.
func NamespaceName(project string) string { return label(project) }

// ObjectName is the name of a service's objects, and the host name other services reach it by.
func ObjectName(service string) string { return label(service) }

// label makes a DNS label of a name.
func label(name string) string {
	s := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	return strings.Trim(s, "-")
}

// suffixed appends to a name and keeps it a DNS label, with a part of its hash if it would be too long.
func suffixed(name, suffix string) string {
	if len(name)+len(suffix) > 63 {
		sum := sha256.Sum256([]byte(name))
		name = name[:63-len(suffix)-9] + "-" + hex.EncodeToString(sum[:4])
	}
	return name + suffix
}

// PublishedName is the name of the Service that holds the published ports of a service.
func PublishedName(service string) string { return suffixed(ObjectName(service), "-published") }

// ContainerName is the name a container is shown by.
func ContainerName(project, service string, number int) string {
	return fmt.Sprintf("%s-%s-%d", project, service, number)
}

// ImageName is the name of a service's image as the user sees it.
func ImageName(project string, s *model.Service) string {
	if s.Image != "" {
		return s.Image
	}
	return strings.ToLower(project + "-" + s.Name)
}

// ImageRef is the full reference of a service's image, with registry and tag.
func ImageRef(project string, s *model.Service) string { return FullRef(ImageName(project, s)) }

// FullRef completes the name of an image: redis becomes docker.io/library/redis:latest.
func FullRef(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.TagNameOnly(named).String()
}

// Familiar is the short form of a full reference.
func Familiar(ref string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return strings.TrimSuffix(reference.FamiliarString(named), ":latest")
}

// labels are those of every object of a project; service may be empty.
func labels(project, service string) map[string]string {
	out := map[string]string{labelManagedBy: managedBy, api.LabelProject: project}
	if service != "" {
		out[api.LabelService] = service
	}
	return out
}

// stamp writes the hash of the object into its annotations.
func stamp(obj Object) {
	notes := obj.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	delete(notes, annotationHash)
	obj.SetAnnotations(notes)
	// Encoding plain API data cannot fail.
	data, _ := json.Marshal(obj)
	sum := sha256.Sum256(data)
	notes[annotationHash] = hex.EncodeToString(sum[:16])
	obj.SetAnnotations(notes)
}
