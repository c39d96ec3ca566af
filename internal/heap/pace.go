package heap

import (
	"fmt"
	"time"
)

// pace is what is known of the process. It decides; Run carries out.
type pace struct {
	busy      bool
	percent   int       // as set while busy
	last      time.Time // the last collection
	looked    time.Time // when allocated was read
	allocated uint64
	given     uint64 // what had been allocated when memory was last given back
}

// step is what to do now.
type step struct {
	percent  int  // 0: as it is
	giveBack bool // collect, and give free memory to the system
	again    bool // look again when the process may have calmed down
}

// String says it as the tests' transcript does.
func (s step) String() string {
	out := ""
	if s.percent != 0 {
		out += fmt.Sprintf(" percent %d", s.percent)
	}
	if s.giveBack {
		out += " give back"
	}
	if s.again {
		out += " look again"
	}
	return out
}

// collected is told of a collection.
func (p *pace) collected(now time.Time, r reading) (do step) {
	soon := !p.last.IsZero() && now.Sub(p.last) < quick
	p.last = now
	if p.looked.IsZero() || !p.busy {
		p.looked, p.allocated = now, r.allocated
	}
	do.again = true
	if !p.busy && !soon {
		return do
	}
	if !p.busy {
		p.busy, p.percent = true, restPercent
	}
	// Setting it stops the world for a moment, so small differences are left alone.
	if want := percentFor(r.live); want > p.percent+p.percent/8 || want < p.percent-p.percent/8 {
		p.percent, do.percent = want, want
	}
	return do
}

// elapsed is told that a while has passed since the last collection.
func (p *pace) elapsed(now time.Time, r reading) (do step) {
	rate := float64(r.allocated-p.allocated) / max(now.Sub(p.looked), time.Millisecond).Seconds()
	p.looked, p.allocated = now, r.allocated
	if rate > quiet {
		return step{again: true}
	}
	if p.busy {
		p.busy, p.percent, do.percent = false, 0, restPercent
	}
	// Memory that did not come back the last time does not come back now: only what was allocated since can. And a large heap is not
	// collected for a little.
	if least := max(leastSpare, r.live/4); r.spare() > least && r.allocated-p.given > least {
		p.given, do.giveBack = r.allocated, true
	}
	return do
}

// percentFor is how much garbage a busy process may make before it collects, in percent of what lives.
func percentFor(live uint64) int {
	if live == 0 {
		return busyPercent
	}
	return restPercent + int(min(busyPercent-restPercent, 100*maxGarbage/live))
}
