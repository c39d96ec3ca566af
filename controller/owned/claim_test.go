package owned

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestClaim(t *testing.T) {
	another := func(p *corev1.Pod) { p.OwnerReferences[0].UID = "x" }
	selector := labels.SelectorFromSet(labels.Set{"app": "web"})
	for _, c := range []struct {
		name  string
		pod   *corev1.Pod
		going bool // the owner is being deleted
		want  string
		own   int
	}{
		{"its own", pod("a"), false, "", 1},
		{"its own, on its way out", pod("a", deleted), false, "", 1},
		{"an orphan is adopted", pod("a", orphan), false, "adopt a", 0},
		{"a strange orphan is not", pod("a", orphan, strange), false, "", 0},
		{"an orphan on its way out is not", pod("a", orphan, deleted), false, "", 0},
		{"an orphan that has ended is refused", pod("a", orphan, phase(corev1.PodFailed)), false, "", 0},
		{"an owner on its way out adopts nothing", pod("a", orphan), true, "", 0},
		{"a relabelled one is released", pod("a", strange), false, "release a", 0},
		{"an owner on its way out releases nothing", pod("a", strange), true, "", 0},
		{"somebody else's stays so", pod("a", another), false, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := owner()
			if c.going {
				o.DeletionTimestamp = &metav1.Time{Time: now}
			}
			got := Claim(o, selector, []*corev1.Pod{c.pod}, Unfinished)
			if got.String() != c.want || len(got.Own) != c.own {
				t.Errorf("got %q and %d of its own, want %q and %d", got, len(got.Own), c.want, c.own)
			}
		})
	}
}

func TestOwnerThatIsAnotherNow(t *testing.T) {
	anew, going := owner(), owner()
	anew.UID = "another"
	going.DeletionTimestamp = &metav1.Time{Time: now}
	if otherOwner(owner(), owner()) != nil || otherOwner(owner(), anew) == nil || otherOwner(owner(), going) == nil {
		t.Error("only the same owner, alive, may adopt")
	}
}
