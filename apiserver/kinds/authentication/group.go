// Package authentication has the kinds of the group authentication.k8s.io, version v1: questions about who somebody is. None is stored. Start
// with Kinds.
package authentication

import (
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Kinds is the group authentication.k8s.io, version v1.
func Kinds() []*registry.Kind { return []*registry.Kind{selfSubjectReviews(), tokenReviews()} }
