// Package discovery has the kinds of the group discovery.k8s.io. Start with Kinds.
package discovery

import (
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Kinds is the group discovery.k8s.io, version v1.
func Kinds() []*registry.Kind { return []*registry.Kind{endpointSlices()} }
