// Package coordination has the kinds of the group coordination.k8s.io. Its Lease is the smallest whole kind: the one to copy. Start with Kinds.
package coordination

import (
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Kinds is the group coordination.k8s.io, version v1. Its Lease is the smallest whole kind: the one to copy.
func Kinds() []*registry.Kind { return []*registry.Kind{leases()} }
