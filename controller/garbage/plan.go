package garbage

import (
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
)

type action struct {
	kind        actionKind
	propagation metav1.DeletionPropagation
	refs        []metav1.OwnerReference
}

// decide says what becomes of an object with these owners: one solid owner keeps it; otherwise it goes, in the foreground if an
// owner waits for that.
func decide(refs []metav1.OwnerReference, states map[metav1.OwnerReference]ownerState) action {
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
	case waits > 0:
		return action{kind: remove, propagation: metav1.DeletePropagationForeground}
	}
	return action{kind: remove, propagation: metav1.DeletePropagationBackground}
}

// strip makes an owner reference usable as a map key.
func strip(ref metav1.OwnerReference) metav1.OwnerReference {
	ref.Controller, ref.BlockOwnerDeletion = nil, nil
	return ref
}
