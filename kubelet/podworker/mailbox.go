package podworker

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cuppa-project/cuppa/kubelet/observe"
)

// set delivers a newer version of the pod.
func (w *Worker) set(pod *corev1.Pod) { w.tell(func() { w.update(pod) }) }

func (w *Worker) update(pod *corev1.Pod) {
	if !maps.Equal(pod.Labels, w.pod.Labels) || !maps.Equal(pod.Annotations, w.pod.Annotations) {
		w.refresh = true
	}
	w.pod = pod
}

// setRoom tells whether the pod may have the resources that its spec asks for now.
func (w *Worker) setRoom(room Room) {
	w.mu.Lock()
	same := w.room == room
	w.mu.Unlock()
	if !same {
		w.tell(func() { w.room = room })
	}
}

// setRemoved tells that the API has no such pod any more.
func (w *Worker) setRemoved() { w.tell(func() { w.removed = true }) }

// observe tells that the runtime has news of the pod.
func (w *Worker) observe() { w.tell(func() { w.stale = true }) }

// begun tells that the runtime has started a container. That is no news while a start is under way, whose end is looked at anyway.
func (w *Worker) begun() { w.tell(func() { w.started = true }) }

// mirror tells that a ConfigMap or Secret of the pod's has changed.
func (w *Worker) mirror() { w.tell(func() { w.refresh = true }) }

// end tells that the node cannot keep the pod.
func (w *Worker) end(outcome Outcome) { w.tell(func() { w.reject = &outcome }) }

func (w *Worker) tell(change func()) {
	w.mu.Lock()
	change()
	w.mu.Unlock()
	w.wake()
}

// open takes the mailbox's contents.
func (w *Worker) open() (pod *corev1.Pod, removed, stale bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.finished {
		op, ok := w.ops[r.key]
		if ok && op.serial == r.serial {
			op.cancel()
			delete(w.ops, r.key)
			delete(w.memory.Running, r.key)
		}
		if r.apply != nil {
			r.apply(&w.memory)
		}
		w.stale = w.stale || r.look
	}
	w.finished = nil
	if _, starting := w.ops[string(StartContainer)]; w.started && !starting {
		w.stale = true
	}
	w.started = false
	if w.refresh {
		w.refresh = false
		w.memory.RefreshAt = time.Now()
		w.memory.retryNow()
	}
	if w.reject != nil {
		w.memory.Rejected = w.reject
	}
	w.memory.Room = w.room
	stale, w.stale = w.stale, false
	return w.pod, w.removed, stale
}

// retryNow forgets the waits of failures that a changed ConfigMap or Secret may have cured.
func (m *Memory) retryNow() {
	m.Mount.Until = time.Time{}
	for name, retry := range m.Start {
		if retry.Reason == ReasonCreateConfigError {
			retry.Until = time.Time{}
			m.Start[name] = retry
		}
	}
}

// ended returns a channel that is closed once a container does not run any more.
func (w *Worker) ended(id string) <-chan struct{} {
	done := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		close(done)
		return done
	}
	if w.waiting == nil {
		w.waiting = map[string][]chan struct{}{}
	}
	w.waiting[id] = append(w.waiting[id], done)
	w.stale = true
	w.wake()
	return done
}

// notify tells those who wait for the end of containers. A nil observation is the worker's own end.
func (w *Worker) notify(observed *observe.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = observed == nil
	for id, waiters := range w.waiting {
		if observed != nil {
			if c := observed.ByID(id); c != nil && c.State != observe.Exited {
				continue
			}
		}
		for _, done := range waiters {
			close(done)
		}
		delete(w.waiting, id)
	}
}
