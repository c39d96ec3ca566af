package events

import (
	"testing"
	"time"
)

func TestLimit(t *testing.T) {
	l, now := newLimit(), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	count := func(tries int) (n int) {
		for range tries {
			if l.allows("one", now) {
				n++
			}
		}
		return n
	}
	if got := count(100); got != burst {
		t.Errorf("at once: %d, want %d", got, burst)
	}
	now = now.Add(refill - time.Second)
	if got := count(10); got != 0 {
		t.Errorf("before %s: %d more, want none", refill, got)
	}
	now = now.Add(2*refill + time.Second)
	if got := count(10); got != 3 {
		t.Errorf("after three times %s: %d more, want 3", refill, got)
	}
	if !l.allows("another", now) {
		t.Error("one object's events count against another's")
	}
}
