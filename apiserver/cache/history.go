package cache

import "sync"

// event is one change of a table, shared by the ring and by every watcher that has yet to see it.
type event struct {
	kind        ChangeType
	revision    int64
	second      int64  // when it arrived, Unix time
	entry, prev *entry // as in Change

	mu     sync.Mutex
	frames []frame
	left   *entry // prev under this revision, for watchers whose selector the object left
}

type frame struct {
	kind ChangeType
	form any
	data []byte
	err  error
}

// Frame returns the change as bytes in a form: a comparable value that names media type and shape. Encode is called once per
// event and form, however many watchers ask; the bytes are shared and nobody writes to them.
func (c Change) Frame(form any, encode func(Change) ([]byte, error)) ([]byte, error) {
	if c.event == nil {
		return encode(c)
	}
	e := c.event
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.frames {
		if f := &e.frames[i]; f.kind == c.Type && f.form == form {
			return f.data, f.err
		}
	}
	data, err := encode(c)
	e.frames = append(e.frames, frame{c.Type, form, data, err})
	return data, err
}

// cool lets go of what only fresh events need: most watchers have sent the frames by now.
func (e *event) cool() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.frames, e.left = nil, nil
	if e.prev != nil {
		e.prev.drop()
	}
}

// leave returns the last matching state under the revision of the change that ended the match.
func (e *event) leave() *entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.left == nil {
		e.left = e.prev.at(e.revision)
	}
	return e.left
}

func (e *event) change(kind ChangeType) Change {
	c := Change{Type: kind, Revision: e.revision, event: e}
	if e.entry != nil {
		c.Entry = e.entry
	}
	if e.prev != nil {
		c.Prev = e.prev
	}
	return c
}

func (e *event) size() int {
	n := 256
	if e.prev != nil {
		n += len(e.prev.stored)
	}
	return n
}

// ring is the recent past of a table, bounded in events, in bytes that only it holds, and in age.
type ring struct {
	events    []*event // from first on; what is before is garbage
	first     int
	bytes     int
	floor     int64 // changes after this revision are all here
	maxEvents int
	maxBytes  int
}

const warm = 256 // how many events keep their frames

func (r *ring) reset(floor int64) { r.events, r.first, r.bytes, r.floor = nil, 0, 0, floor }

func (r *ring) len() int { return len(r.events) - r.first }

func (r *ring) append(e *event) {
	if r.first > 64 && r.first*2 > len(r.events) {
		n := copy(r.events, r.events[r.first:])
		clear(r.events[n:])
		r.events, r.first = r.events[:n], 0
	}
	r.events = append(r.events, e)
	r.bytes += e.size()
	for r.len() > r.maxEvents || (r.bytes > r.maxBytes && r.len() > 1) {
		r.pop()
	}
	if n := len(r.events) - 1 - warm; n >= r.first {
		r.events[n].cool()
	}
}

func (r *ring) pop() {
	e := r.events[r.first]
	r.events[r.first] = nil
	r.first++
	r.bytes -= e.size()
	r.floor = e.revision
}

// expire drops what arrived before the second.
func (r *ring) expire(second int64) {
	for r.len() > 0 && r.events[r.first].second < second {
		r.pop()
	}
}

// since returns the events after the revision; false when some of them are gone.
func (r *ring) since(revision int64) ([]*event, bool) {
	if revision < r.floor {
		return nil, false
	}
	live := r.events[r.first:]
	n := len(live)
	for n > 0 && live[n-1].revision > revision {
		n--
	}
	return live[n:], true
}
