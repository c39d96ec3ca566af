// Package storage has the kinds of the group storage.k8s.io, version v1. Start with Kinds; each kind has the files that
// docs/howto/add-a-kind.md names.
package storage

import (
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Kinds is the group storage.k8s.io, version v1, by resource name.
func Kinds() []*registry.Kind { return []*registry.Kind{storageClasses()} }
