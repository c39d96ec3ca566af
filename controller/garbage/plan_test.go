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
			got := decide([]metav1.OwnerReference{a, b}, map[metav1.OwnerReference]ownerState{strip(a): c.states[0], strip(b): c.states[1]})
			if got.kind != c.want || got.propagation != c.how || len(got.refs) != c.kept {
				t.Errorf("got %+v, want kind %d, propagation %q, %d owners kept", got, c.want, c.how, c.kept)
			}
		})
	}
}
