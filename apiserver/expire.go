package apiserver

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cuppa-project/cuppa/apiserver/cache"
)

const (
	// eventLife is how long an event is kept after it last happened.
	eventLife = time.Hour
	// expireEvery is how often events that are due are looked for.
	expireEvery = time.Minute
)

// expireEvents removes the events that nobody needs any more, as Kubernetes does: nothing else ever would.
func (s *Server) expireEvents(ctx context.Context) error {
	ticker := time.NewTicker(expireEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if closed(s.ready, "") == nil {
				s.removeEvents(ctx)
			}
		}
	}
}

func (s *Server) removeEvents(ctx context.Context) {
	kind := s.registry.Current().ByResource(coreResource("events"))
	if kind == nil {
		return
	}
	var due []*corev1.Event
	s.rest.Rows(kind).Snapshot().Ascend("", "", func(e cache.Entry) bool {
		if event, ok := e.Object().(*corev1.Event); ok && s.config.Now().Sub(lastHappened(event)) > eventLife {
			due = append(due, event)
		}
		return true
	})
	door := s.As(self())
	for _, event := range due {
		// One that happened again meanwhile has another version and stays.
		exactly := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: pointer(event.UID), ResourceVersion: pointer(event.ResourceVersion)}}
		err := door.Delete(ctx, coreResource("events"), event.Namespace, event.Name, exactly)
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
			s.config.Logger.Warn("remove an old event", "event", event.Namespace+"/"+event.Name, "err", err)
		}
	}
}

func pointer[T string | types.UID](v T) *T { return &v }

// lastHappened is the latest of the times that the two APIs of events write.
func lastHappened(event *corev1.Event) time.Time {
	last := event.CreationTimestamp.Time
	for _, t := range []time.Time{event.LastTimestamp.Time, event.EventTime.Time} {
		if t.After(last) {
			last = t
		}
	}
	if event.Series != nil && event.Series.LastObservedTime.Time.After(last) {
		last = event.Series.LastObservedTime.Time
	}
	return last
}
