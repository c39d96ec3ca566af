// Package policy has the kinds of the group policy, version v1. Start with Kinds; each kind has the files that docs/howto/add-a-kind.md names.
package policy

import (
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Kinds is the group policy, version v1.
func Kinds() []*registry.Kind { return []*registry.Kind{podDisruptionBudgets()} }
