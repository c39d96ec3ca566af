package rest

import (
	"fmt"
	"slices"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dropDoubleOwners keeps the first of owner references that are the same in everything, and warns of the others, as upstream does. Two references to
// one owner that differ are for validation to judge.
func dropDoubleOwners(c *Call, obj metav1.Object) {
	owners := obj.GetOwnerReferences()
	if len(owners) < 2 {
		return
	}
	var (
		kept    []metav1.OwnerReference
		doubled []string
	)
	for _, owner := range owners {
		if holdsOwner(kept, owner) {
			doubled = append(doubled, string(owner.UID))
			continue
		}
		kept = append(kept, owner)
	}
	if len(doubled) == 0 {
		return
	}
	obj.SetOwnerReferences(kept)
	c.Warn(fmt.Sprintf(".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, "+
		"and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %s", strings.Join(doubled, ", ")))
}

func holdsOwner(owners []metav1.OwnerReference, owner metav1.OwnerReference) bool {
	return slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool { return apiequality.Semantic.DeepEqual(o, owner) })
}
