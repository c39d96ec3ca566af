package metrics

import (
	"slices"
	"strings"
)

// Other is what requests are counted as that fit no known word.
const Other = "other"

// verbs are those of resources, and the methods that other paths take.
var verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "connect", "post", "put", "head", "options"}

// paths are the first words of the paths that are no resources.
var paths = []string{"", "version", "livez", "readyz", "healthz", "metrics", "openapi", "api", "apis"}

// Verb is the word under which a request is counted.
func Verb(verb string) string {
	if !slices.Contains(verbs, verb) {
		return Other
	}
	return strings.ToUpper(verb)
}

// Path is the word under which a request for something that is no resource is counted, by the first part of its path.
func Path(first string) string {
	if !slices.Contains(paths, first) {
		return Other
	}
	return "/" + first
}
