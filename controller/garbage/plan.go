package garbage

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ownerState is how one owner stands.
type ownerState int

const (
	solid   ownerState = iota // there, and not waiting for its dependents
	waiting                   // in foreground deletion: it goes when its dependents are gone
	absent                    // gone
)

type actionKind int

const (
	nothing  actionKind = iota
	remove              // delete the dependent
	dropRefs            // keep it, without the references to owners that are gone
	unblock             // let its owners go before it, since it waits for them itself; it is judged again then
)

type action struct {
	kind        actionKind
	propagation metav1.DeletionPropagation
	refs        []metav1.OwnerReference
}

// decide says what becomes of an object with these owners: one solid owner keeps it; otherwise it goes, in the foreground if an
// owner waits for that. A circle is an object one of whose dependents waits for its own dependents: owners and dependents would wait for each other
// for ever.
func decide(refs []metav1.OwnerReference, states map[metav1.OwnerReference]ownerState, circle bool) action {
	var kept []metav1.OwnerReference
	solids, waits := 0, 0
	for _, ref := range refs {
		switch states[strip(ref)] {
		case solid:
			solids++
			kept = append(kept, ref)
		case waiting:
			waits++
		}
	}
	switch {
	case solids == len(refs):
		return action{}
	case solids > 0:
		return action{kind: dropRefs, refs: kept}
	case waits > 0 && circle && slices.ContainsFunc(refs, blocks):
		return action{kind: unblock, refs: unblocked(refs)}
	case waits > 0:
		return action{kind: remove, propagation: metav1.DeletePropagationForeground}
	}
	return action{kind: remove, propagation: metav1.DeletePropagationBackground}
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

func unblocked(refs []metav1.OwnerReference) []metav1.OwnerReference {
	out := slices.Clone(refs)
	for i := range out {
		out[i].BlockOwnerDeletion = nil
	}
	return out
}

// strip makes an owner reference usable as a map key.
func strip(ref metav1.OwnerReference) metav1.OwnerReference {
	ref.Controller, ref.BlockOwnerDeletion = nil, nil
	return ref
}
