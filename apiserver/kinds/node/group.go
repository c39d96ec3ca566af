// Package node has the kinds of the group node.k8s.io, version v1. (Nodes themselves are in package core.) Start with Kinds; each kind has the
// files that docs/howto/add-a-kind.md names.
package node

import (
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Kinds is the group node.k8s.io, version v1.
func Kinds() []*registry.Kind { return []*registry.Kind{runtimeClasses()} }
