// Package events records what happened to objects, as Event objects that kubectl describe shows.
//
// Recording never blocks and never fails its caller: events are written by one background part, equal ones are counted up, and when
// the queue is full the newest is dropped and counted. Start with Recorder.
package events

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"

	"github.com/cuppa-project/cuppa/kube"
)

// queueLength bounds the events that wait to be written; memoryLength the ones whose count can still go up.
const (
	queueLength  = 1024
	memoryLength = 4096
)

// Sink is where loops say what happened to objects.
type Sink interface {
	// Normal records an ordinary event about obj.
	Normal(obj kube.Object, reason, format string, args ...any)
	// Warning records an event about obj that somebody should look at.
	Warning(obj kube.Object, reason, format string, args ...any)
}

// Discard is a Sink that records nothing.
var Discard Sink = discard{}

type discard struct{}

func (discard) Normal(kube.Object, string, string, ...any)  {}
func (discard) Warning(kube.Object, string, string, ...any) {}

// Recorder records events for one component.
type Recorder struct {
	config  Config
	queue   chan *occurrence // pointers: most recorders record nothing
	dropped atomic.Int64
}

// Config describes a recorder.
type Config struct {
	Cluster   kube.Writer
	Component string // "kubelet", "default-scheduler"
	Host      string // the node, for a node's components
	Clock     clock.PassiveClock
	Logger    *slog.Logger
}

type occurrence struct {
	ref                   corev1.ObjectReference
	kind, reason, message string
	at                    time.Time
}

// New returns a recorder; nothing is written until Run.
func New(config Config) *Recorder {
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	return &Recorder{config: config, queue: make(chan *occurrence, queueLength)}
}

// Normal records an ordinary event about obj.
func (r *Recorder) Normal(obj kube.Object, reason, format string, args ...any) {
	r.add(Reference(obj), corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...))
}

// Warning records an event about obj that somebody should look at.
func (r *Recorder) Warning(obj kube.Object, reason, format string, args ...any) {
	r.add(Reference(obj), corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...))
}

// About records an event about a reference, which may name a part of an object (a container's field path).
func (r *Recorder) About(ref corev1.ObjectReference, eventType, reason, message string) {
	r.add(ref, eventType, reason, message)
}

func (r *Recorder) add(ref corev1.ObjectReference, eventType, reason, message string) {
	const longest = 1024 // the API's limit for a note
	if len(message) > longest {
		message = message[:longest-3] + "..."
	}
	select {
	case r.queue <- &occurrence{ref, eventType, reason, message, r.config.Clock.Now()}:
	default:
		r.dropped.Add(1)
	}
}

// Dropped says how many events were lost because the server did not take them fast enough.
func (r *Recorder) Dropped() int64 { return r.dropped.Load() }

// Reference names an object in an event.
func Reference(obj kube.Object) corev1.ObjectReference {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if gvk.Empty() {
		if kinds, _, err := scheme.Scheme.ObjectKinds(obj); err == nil {
			gvk = kinds[0]
		}
	}
	return corev1.ObjectReference{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Namespace: obj.GetNamespace(),
		Name: obj.GetName(), UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion()}
}

// seen is an event that was written, and how often it has happened.
type seen struct {
	name  string
	count int32
}

// Run writes events until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	memory, limit := map[string]*seen{}, newLimit()
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-r.queue:
			if len(memory) >= memoryLength {
				clear(memory)
			}
			if !limit.allows(o.ref.UID, o.at) {
				r.dropped.Add(1)
				continue
			}
			if err := r.write(ctx, o, memory); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
				r.config.Logger.Warn("event not recorded", "reason", o.reason, "object", o.ref.Name, "err", err)
			}
		}
	}
}

func (r *Recorder) write(ctx context.Context, o *occurrence, memory map[string]*seen) error {
	namespace := o.ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	key := string(o.ref.UID) + o.ref.FieldPath + "\x00" + o.reason + "\x00" + o.message
	if s, ok := memory[key]; ok {
		_, err := kube.MergePatch(ctx, r.config.Cluster, kube.Events, namespace, s.name,
			map[string]any{"count": s.count + 1, "lastTimestamp": metav1.NewTime(o.at)})
		if err == nil {
			s.count++
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	event := r.event(o, namespace, key)
	if _, err := r.config.Cluster.Create(ctx, event); err != nil {
		return err
	}
	memory[key] = &seen{name: event.Name, count: 1}
	return nil
}

func (r *Recorder) event(o *occurrence, namespace, key string) *corev1.Event {
	h := fnv.New64a()
	h.Write([]byte(key))
	h.Write([]byte(strconv.FormatInt(o.at.UnixNano(), 10)))
	at := metav1.NewTime(o.at)
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%x", o.ref.Name, h.Sum64())},
		InvolvedObject: o.ref,
		Reason:         o.reason,
		Message:        o.message,
		Type:           o.kind,
		Source:         corev1.EventSource{Component: r.config.Component, Host: r.config.Host},
		FirstTimestamp: at,
		LastTimestamp:  at,
		Count:          1,

		ReportingController: r.config.Component,
		ReportingInstance:   r.config.Host,
	}
}
