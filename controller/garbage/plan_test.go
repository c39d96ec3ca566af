package garbage

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDecide(t *testing.T) {
	a, b := metav1.OwnerReference{Name: "a", UID: "a"}, metav1.OwnerReference{Name: "b", UID: "b"}
	for _, c := range []struct {
		name   string
		states [2]ownerState
		want   actionKind
		how    metav1.DeletionPropagation
		kept   int
	}{
		{"both there", [2]ownerState{solid, solid}, nothing, "", 0},
		{"one gone", [2]ownerState{solid, absent}, dropRefs, "", 1},
		{"one waits, one is there", [2]ownerState{waiting, solid}, dropRefs, "", 1},
		{"both gone", [2]ownerState{absent, absent}, remove, metav1.DeletePropagationBackground, 0},
		{"one gone, one waits", [2]ownerState{absent, waiting}, remove, metav1.DeletePropagationForeground, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := decide([]metav1.OwnerReference{a, b}, map[metav1.OwnerReference]ownerState{strip(a): c.states[0], strip(b): c.states[1]}, false)
			if got.kind != c.want || got.propagation != c.how || len(got.refs) != c.kept {
				t.Errorf("got %+v, want kind %d, propagation %q, %d owners kept", got, c.want, c.how, c.kept)
			}
		})
	}
}

// TestCircles: who is in one lets go of its owners first, and then goes like any other.
func TestCircles(t *testing.T) {
	yes := true
	ref := metav1.OwnerReference{Name: "a", UID: "a", BlockOwnerDeletion: &yes, Controller: &yes}
	states := map[metav1.OwnerReference]ownerState{strip(ref): waiting}
	first := decide([]metav1.OwnerReference{ref}, states, true)
	if first.kind != unblock || len(first.refs) != 1 || blocks(first.refs[0]) || first.refs[0].Controller == nil {
		t.Fatalf("got %+v, want the reference without its block", first)
	}
	if !blocks(ref) {
		t.Error("the reference that was judged has changed")
	}
	if second := decide(first.refs, states, true); second.kind != remove || second.propagation != metav1.DeletePropagationForeground {
		t.Errorf("got %+v, want a deletion in the foreground", second)
	}
	if solidly := decide([]metav1.OwnerReference{ref}, map[metav1.OwnerReference]ownerState{strip(ref): solid}, true); solidly.kind != nothing {
		t.Errorf("got %+v for an owner that does not go, want nothing", solidly)
	}
}
