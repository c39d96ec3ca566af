package cri

import (
	"context"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cuppa-project/cuppa/engine/container"
)

// notice is a change of a pod, which the runtime knows nothing of.
type notice struct {
	sandbox string
	kind    runtimeapi.ContainerEventType
	last    *runtimeapi.PodSandboxStatus // of a pod that is no more
}

// broadcast hands notices to every subscriber; each has a queue without bound, so that nobody holds up a call.
type broadcast struct {
	mu   sync.Mutex
	subs map[*subscriber]bool
}

type subscriber struct {
	queue []notice
	wake  chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{subs: map[*subscriber]bool{}} }

func (b *broadcast) publish(n notice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		s.queue = append(s.queue, n)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (b *broadcast) subscribe() (s *subscriber, cancel func()) {
	s = &subscriber{wake: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs[s] = true
	return s, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, s)
	}
}

func (b *broadcast) take(s *subscriber) []notice {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := s.queue
	s.queue = nil
	return all
}

// retryEvents is how long to wait before asking a runtime again that does not answer.
const retryEvents = 200 * time.Millisecond

// GetContainerEvents implements RuntimeService. It first tells how every container stands, then what changes, until ctx ends; it
// outlasts a restart of the supervisor. The callback is called with nil once the stream stands.
func (s *Service) GetContainerEvents(ctx context.Context, out chan *runtimeapi.ContainerEventResponse, connected func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	pods, cancel := s.news.subscribe()
	defer cancel()
	if err := s.sweep(ctx); err != nil {
		s.log.Warn("containers without records not removed", "err", err)
	}
	var last uint64
	for {
		changes, err := s.runtime.Events(ctx, last)
		if err == nil {
			if connected != nil {
				connected(nil)
				connected = nil
			}
			last = s.forward(ctx, out, pods, changes, last)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			s.log.Info("runtime events interrupted")
			continue
		}
		s.log.Warn("no events from the runtime", "err", err)
		timer := time.NewTimer(retryEvents)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// forward passes events on until the runtime's end or ctx ends, and returns the last one's number.
func (s *Service) forward(ctx context.Context, out chan<- *runtimeapi.ContainerEventResponse, pods *subscriber, changes <-chan container.Event, last uint64) uint64 {
	for {
		var events []*runtimeapi.ContainerEventResponse
		select {
		case e, ok := <-changes:
			if !ok {
				return last
			}
			last = e.Seq
			if r := s.containerEvent(ctx, e); r != nil {
				events = append(events, r)
			}
		case <-pods.wake:
			for _, n := range s.news.take(pods) {
				events = append(events, s.podEvent(ctx, n))
			}
		case <-ctx.Done():
			return last
		}
		for _, r := range events {
			select {
			case out <- r:
			case <-ctx.Done():
				return last
			}
		}
	}
}

// containerEvent translates; nil for what CRI has no event for.
func (s *Service) containerEvent(ctx context.Context, e container.Event) *runtimeapi.ContainerEventResponse {
	sandboxID := e.Status.Labels[labelSandbox]
	if sandboxID == "" {
		return nil
	}
	r := &runtimeapi.ContainerEventResponse{ContainerId: e.Status.ID, CreatedAt: stamp(e.Time)}
	switch e.Type {
	case container.EventCreated:
		r.ContainerEventType = runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT
	case container.EventStarted:
		r.ContainerEventType = runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT
	case container.EventExited:
		r.ContainerEventType = runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT
	case container.EventDeleted:
		r.ContainerEventType = runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT
	default:
		return nil
	}
	return s.complete(ctx, r, sandboxID, e.Status)
}

func (s *Service) podEvent(ctx context.Context, n notice) *runtimeapi.ContainerEventResponse {
	r := &runtimeapi.ContainerEventResponse{ContainerId: n.sandbox, ContainerEventType: n.kind, CreatedAt: time.Now().UnixNano(),
		PodSandboxStatus: n.last}
	return s.complete(ctx, r, n.sandbox, container.Status{})
}

// complete adds how the pod and its containers stand now; the container of the event as it stood right after.
func (s *Service) complete(ctx context.Context, r *runtimeapi.ContainerEventResponse, sandboxID string, known container.Status) *runtimeapi.ContainerEventResponse {
	if b, err := s.findSandbox(sandboxID); err == nil {
		r.PodSandboxStatus = s.sandboxStatus(b)
	}
	if statuses, err := s.statusesOf(ctx, sandboxID, known); err == nil {
		r.ContainersStatuses = statuses
	}
	return r
}
