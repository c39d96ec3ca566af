//go:build cgo

package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cuppa-project/cuppa/engine/container"
	"github.com/cuppa-project/cuppa/engine/supervisor/wire"
)

// keptEvents is how many events a client may have missed and still be told one by one.
const keptEvents = 4096

// eventLog is the supervisor's recent history.
type eventLog struct {
	mu      sync.Mutex
	seq     uint64
	recent  []container.Event
	changed chan struct{} // closed and replaced at each event
}

// newEventLog begins its numbers at the time, so that a later supervisor's are greater than an earlier one's.
func newEventLog() *eventLog {
	return &eventLog{seq: uint64(time.Now().UnixMicro()), changed: make(chan struct{})}
}

func (l *eventLog) publish(t container.EventType, st container.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	if len(l.recent) >= 2*keptEvents {
		l.recent = slices.Clone(l.recent[keptEvents:])
	}
	l.recent = append(l.recent, container.Event{Seq: l.seq, Type: t, Time: time.Now(), Status: st})
	close(l.changed)
	l.changed = make(chan struct{})
}

// since returns the events after a number, whether that number is within what is kept, and the channel of the next change.
func (l *eventLog) since(after uint64) (events []container.Event, known bool, next <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := l.seq + 1
	if len(l.recent) > 0 {
		oldest = l.recent[0].Seq
	}
	known = after+1 >= oldest && after <= l.seq
	i, _ := slices.BinarySearchFunc(l.recent, after+1, func(e container.Event, seq uint64) int {
		switch {
		case e.Seq < seq:
			return -1
		case e.Seq > seq:
			return 1
		}
		return 0
	})
	return slices.Clone(l.recent[i:]), known, l.changed
}

// standing tells how every container stands, as events. A change that happens meanwhile is told again by its own event.
func (s *Server) standing() ([]container.Event, uint64) {
	s.events.mu.Lock()
	seq := s.events.seq
	s.events.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var events []container.Event
	for _, c := range s.containers {
		st := c.snapshot()
		e := container.Event{Seq: seq, Type: container.EventCreated, Time: st.CreatedAt, Status: st}
		switch st.State {
		case container.Running, container.Paused:
			e.Type, e.Time = container.EventStarted, st.StartedAt
		case container.Exited:
			e.Type, e.Time = container.EventExited, st.FinishedAt
		}
		events = append(events, e)
	}
	slices.SortFunc(events, func(a, b container.Event) int { return a.Time.Compare(b.Time) })
	return events, seq
}

func (s *Server) streamEvents(ctx context.Context, r *request) (any, error) {
	var in wire.Events
	if err := r.decode(&in); err != nil {
		return nil, err
	}
	ctx, cancel := r.untilGone(ctx)
	defer cancel()
	if err := r.say(nil); err != nil {
		return nil, err
	}
	after := in.After
	for {
		events, known, next := s.events.since(after)
		if !known {
			events, after = s.standing()
		}
		for _, e := range events {
			if err := r.say(e); err != nil {
				return nil, err
			}
			after = max(after, e.Seq)
		}
		if !known {
			continue
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
