// Package authorization has the kinds of the group authorization.k8s.io, version v1: questions about what somebody may do. None is stored. Start
// with Kinds.
package authorization

import (
	"github.com/cuppa-project/cuppa/apiserver/registry"
)

// Kinds is the group authorization.k8s.io, version v1.
func Kinds() []*registry.Kind {
	return []*registry.Kind{localSubjectAccessReviews(), selfSubjectAccessReviews(), selfSubjectRulesReviews(), subjectAccessReviews()}
}
