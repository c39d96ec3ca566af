package events

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// How many events an object may have at once, and how often one more; as upstream, whose clients drop what is beyond.
const (
	burst  = 25
	refill = 5 * time.Minute
)

// limit keeps one object from filling the store with its events: a ReplicaSet that makes a thousand pods tells of the first few.
type limit map[types.UID]*tokens

type tokens struct {
	left int
	at   time.Time // when left was right
}

func newLimit() limit { return limit{} }

// allows takes a token of the object's, if there is one.
func (l limit) allows(uid types.UID, now time.Time) bool {
	t := l[uid]
	if t == nil {
		if len(l) >= memoryLength {
			clear(l)
		}
		t = &tokens{left: burst, at: now}
		l[uid] = t
	}
	if n := int(now.Sub(t.at) / refill); n > 0 {
		t.left, t.at = min(burst, t.left+n), t.at.Add(time.Duration(n)*refill)
	}
	if t.left == 0 {
		return false
	}
	t.left--
	return true
}
