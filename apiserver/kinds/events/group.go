// Package events has the kinds of the group events.k8s.io. Its Event is another face of the core group's, which this package therefore
// imports. Start with Kinds.
package events

import (
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Kinds is the group events.k8s.io, version v1.
func Kinds() []*registry.Kind { return []*registry.Kind{newEvents()} }
