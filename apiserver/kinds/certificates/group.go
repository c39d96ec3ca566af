// Package certificates has the kinds of the group certificates.k8s.io, version v1. Start with Kinds; each kind has the files that
// docs/howto/add-a-kind.md names.
package certificates

import (
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Kinds is the group certificates.k8s.io, version v1.
func Kinds() []*registry.Kind { return []*registry.Kind{signingRequests()} }
