package lead

import (
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Verb is what a contender does next.
type Verb string

// The verbs.
const (
	Wait   Verb = "wait"   // somebody else leads
	Create Verb = "create" // there is no Lease yet
	Take   Verb = "take"   // nobody leads, or who did has been silent for too long
	Renew  Verb = "renew"  // it is this contender's already
)

// Step is a decision. It is a value: printing it explains it.
type Step struct {
	Verb  Verb
	After time.Duration // of Wait: when the Lease runs out if nothing more is heard
}

// String returns the verb, and for how long.
func (s Step) String() string {
	if s.Verb == Wait {
		return fmt.Sprintf("wait %s", s.After)
	}
	return string(s.Verb)
}

// Decide looks at a Lease (nil: there is none) in the state that was first seen here at seen. Only this machine's clock counts: the times in the Lease are
// another's.
func Decide(me string, lease *coordinationv1.Lease, seen, now time.Time) Step {
	if lease == nil {
		return Step{Verb: Create}
	}
	switch holder := ptr.Deref(lease.Spec.HolderIdentity, ""); holder {
	case "":
		return Step{Verb: Take}
	case me:
		return Step{Verb: Renew}
	}
	lasts := time.Duration(ptr.Deref(lease.Spec.LeaseDurationSeconds, 0)) * time.Second
	if left := seen.Add(lasts).Sub(now); left > 0 {
		return Step{Verb: Wait, After: left}
	}
	return Step{Verb: Take}
}

// held is the Lease as me holds it from now on.
func held(lease *coordinationv1.Lease, me string, lasts time.Duration, now time.Time) *coordinationv1.Lease {
	out := lease.DeepCopy()
	at := metav1.NewMicroTime(now)
	if before := ptr.Deref(out.Spec.HolderIdentity, ""); before != me {
		out.Spec.AcquireTime = &at
		if before != "" || out.Spec.LeaseTransitions != nil {
			out.Spec.LeaseTransitions = ptr.To(ptr.Deref(out.Spec.LeaseTransitions, 0) + 1)
		} else {
			out.Spec.LeaseTransitions = ptr.To[int32](0)
		}
	}
	out.Spec.HolderIdentity, out.Spec.RenewTime = &me, &at
	out.Spec.LeaseDurationSeconds = ptr.To(int32(lasts / time.Second))
	return out
}

// free is the Lease after its holder has let go: the next may take it at once.
func free(lease *coordinationv1.Lease, now time.Time) *coordinationv1.Lease {
	out := lease.DeepCopy()
	at := metav1.NewMicroTime(now)
	out.Spec.HolderIdentity, out.Spec.RenewTime = ptr.To(""), &at
	out.Spec.LeaseDurationSeconds = ptr.To[int32](1)
	return out
}
