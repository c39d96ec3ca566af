package lead

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
)

func TestDecide(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	of := func(holder string) *coordinationv1.Lease {
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: ptr.To[int32](15)}}
	}
	for _, c := range []struct {
		name  string
		lease *coordinationv1.Lease
		ago   time.Duration // since its state was first seen
		want  string
	}{
		{"none", nil, 0, "create"},
		{"nobody's", of(""), 0, "take"},
		{"nobody ever held it", &coordinationv1.Lease{}, 0, "take"},
		{"its own", of("me"), 0, "renew"},
		{"its own, of long ago", of("me"), time.Hour, "renew"},
		{"another's, fresh", of("you"), 0, "wait 15s"},
		{"another's, older", of("you"), 10 * time.Second, "wait 5s"},
		{"another's, run out", of("you"), 15 * time.Second, "take"},
		{"another's, without a duration", &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To("you")}}, 0, "take"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Decide("me", c.lease, now.Add(-c.ago), now).String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
